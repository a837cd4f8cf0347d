"""A validated workflow, as values. The loader makes these; nothing in them is raw YAML any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, TypeAlias

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from repro.digest import Digest
    from repro.errors import Location
    from repro.workflow.source import Source

Value: TypeAlias = bool | int | float | str | Sequence["Value"] | Mapping[str, "Value"] | None


@dataclass(frozen=True, slots=True)
class ArchiveBase:
    """A base image made from the distribution's own archive.

    ``components`` are sorted; ``snapshot`` is the moment whose archive is meant, as ``20260131T000000Z``.
    """

    archive: str  # "debian"
    suite: str  # "bookworm"
    mirror: str | None = None  # a URL; None: from $REPRO_APT_MIRROR or the host's apt sources
    components: tuple[str, ...] = ("main",)
    snapshot: str | None = None  # None: the archive as it is today

    @property
    def name(self) -> str:
        """The base's name in a FROM instruction: ``archive:debian/bookworm+contrib+main@20260131T000000Z``."""
        more = "" if self.components == ("main",) else "".join(f"+{component}" for component in self.components)
        return f"archive:{self.archive}/{self.suite}{more}" + (f"@{self.snapshot}" if self.snapshot else "")


@dataclass(frozen=True, slots=True)
class ImageBase:
    """A base image by reference."""

    reference: str


@dataclass(frozen=True, slots=True)
class CondaSpec:
    """Conda packages by match specs and channels, or by a ``file``: environment.yml, or an explicit list.

    A channel is a name, a URL, or a path from the workflow's folder that starts with ``./``; the first has priority.
    """

    channels: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    file: str | None = None


@dataclass(frozen=True, slots=True)
class SourceBuild:
    """A tarball that is compiled in a stage of its own; what it installs below ``prefix`` goes into the image.

    ``apt`` names packages of that stage alone, ``run`` its commands, run in the folder of the unpacked sources.
    """

    url: str
    digest: Digest
    run: tuple[str, ...]
    apt: tuple[str, ...] = ()
    prefix: str = "/usr/local"


@dataclass(frozen=True, slots=True)
class TemplateEnvironment:
    """An environment whose Dockerfile we template.

    ``pip`` holds requirements (PEP 508), files that list them (``requirements.txt``, ``pyproject.toml``, ``uv.lock``,
    ``pylock.toml``) and folders of the project whose own package is built and installed (``.``, ``./tools``);
    ``files`` maps absolute paths in the image to project paths. ``template`` is the name of a shipped template or a
    path to the user's own, from the workflow's folder.
    """

    name: str
    where: Location
    base: ArchiveBase | ImageBase
    apt: tuple[str, ...] = ()  # "name" or "name=version"
    env: Mapping[str, str] = field(default_factory=dict)
    run: tuple[str, ...] = ()
    template: str = "debian"
    pip: tuple[str, ...] = ()
    conda: CondaSpec | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    source: SourceBuild | None = None


@dataclass(frozen=True, slots=True)
class DockerfileEnvironment:
    """An environment with the user's own Dockerfile; paths are from the workflow's folder."""

    name: str
    where: Location
    dockerfile: str
    context: str
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageEnvironment:
    """An environment that is an image as somebody made it: by a registry's name, or one in the store."""

    name: str
    where: Location
    reference: str


Environment: TypeAlias = TemplateEnvironment | DockerfileEnvironment | ImageEnvironment


@dataclass(frozen=True, slots=True)
class Access:
    """How an ``s3://`` address is reached beyond what the usual places say.

    ``endpoint`` is another server's URL, ``profile`` one of ~/.aws/config; ``anonymous`` sends no login;
    ``requester_pays`` agrees to pay for the transfer.
    """

    endpoint: str | None = None
    profile: str | None = None
    anonymous: bool = False
    requester_pays: bool = False


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What stands for the bytes of data that is bound in place.

    ``kind`` is ``sha256`` (the bytes are read), ``stat`` (names, sizes and times), ``manifest`` (``value`` is the path
    of a list of checksums in the folder) or ``label`` (``value`` is a name for the state, given by people).
    """

    kind: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class DataSource:
    """An entry of ``inputs:``: the project path where jobs see it, and where its bytes come from.

    Exactly one of ``uri`` and ``site`` is set. ``path`` ends in ``/`` for a folder.

    Attributes:
        uri: an address (`repro.names.DataUri`), or a path: absolute, or from the workflow's folder. A glob in its last
            parts (``s3://bucket/reads/*.fq.gz``) chooses files of a folder.
        site: ``name`` or ``name/path/below``: a place that sites.yaml maps to a path of this host.
        version: the S3 version that is wanted; None: the newest when it is locked.
        checksum: what the file must have: ``sha256:<hex>``, also of md5, sha1, sha512.
        checksums: a list of checksums: a path from the source's folder, or an address.
        mount: bound in place and never copied; ``fingerprint`` says what stands for the bytes.
        private: must not leave this site.
    """

    path: str
    where: Location
    uri: str | None = None
    site: str | None = None
    version: str | None = None
    checksum: str | None = None
    checksums: str | None = None
    mount: bool = False
    fingerprint: Fingerprint = field(default_factory=lambda: Fingerprint("sha256"))
    private: bool = False
    access: Access = field(default_factory=Access)

    @property
    def folder(self) -> bool:
        """Whether jobs see a folder."""
        return self.path.endswith("/")


@dataclass(frozen=True, slots=True)
class PublishTarget:
    """An entry of ``publish:``: an output, or a folder of outputs, and the address that it is published at.

    ``target`` is a template over ``run.id``, ``date``, ``workflow`` and ``params``.
    """

    path: str
    target: str
    where: Location
    access: Access = field(default_factory=Access)


@dataclass(frozen=True, slots=True)
class ForeachList:
    """One variable over values as they were spelled; several of them multiply, the first varies slowest."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForeachTable:
    """One job per distinct combination of the ``by`` columns (all columns when empty), in the table's order."""

    table: str
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ForeachMaps:
    """One job per map; every map has the same keys."""

    maps: tuple[Mapping[str, str], ...]


@dataclass(frozen=True, slots=True)
class ForeachGlob:
    """One job per project file (or file of a pinned input) that ``glob`` matches, in sorted order.

    ``pattern`` is the end of such a path with ``{{ names }}`` for the parts that become variables
    (``{{ y }}_{{ x }}.png``; a name stands for one or more characters other than ``/``). The variable ``path`` is the
    whole path; it alone identifies a job where there is no pattern.
    """

    glob: str
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class ForeachItems:
    """One job per file in an output of an earlier step, planned once all jobs of that step are done, in sorted order.

    The items of a folder output are the files below it, those of a file output the file itself, of all the step's jobs.
    ``pattern`` and ``path`` are as in `ForeachGlob`, ``pattern`` also chooses: files that it does not fit are left out.
    With ``chunk`` one job takes that many items: its variables are lists, and ``chunk`` (1, 2, ...) identifies it.
    """

    step: str
    output: str
    pattern: str | None = None
    chunk: int | None = None


Foreach: TypeAlias = tuple[ForeachList, ...] | ForeachTable | ForeachMaps | ForeachGlob | ForeachItems


@dataclass(frozen=True, slots=True)
class PathInput:
    """Project paths, each a template; ``many`` when the declaration was a list. Globs range over project files.

    ``companions`` are endings (``.bai``): files that come along with each path, at ``<path><ending>``.
    """

    paths: tuple[str, ...]
    many: bool
    where: Location
    optional: bool = False
    companions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FromInput:
    """The outputs ``step.output`` of the jobs that agree on the foreach variables both have, the rest gathered.

    An ``optional`` one is absent where the step is switched off by its ``when``.
    """

    step: str
    output: str
    where: Location
    companions: tuple[str, ...] = ()
    optional: bool = False


Input: TypeAlias = PathInput | FromInput


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """A declared output: a path template; a folder where it ends in ``/``.

    A ``temporary`` one is removed once all that read it are done; its digest stays in the records.
    """

    path: str
    where: Location
    temporary: bool = False

    @property
    def folder(self) -> bool:
        """Whether the whole folder is the output."""
        return self.path.endswith("/")


Amount: TypeAlias = int | str  # a whole number, or the text of a template over attempt, params and foreach values


@dataclass(frozen=True, slots=True)
class Resources:
    """What a step asks for; `repro.workflow.resources.granted` makes numbers of it for one attempt at a job.

    Attributes:
        cpus: processors.
        memory: in bytes, as are ``disk`` (scratch) and ``shm`` (/dev/shm); None where not declared.
        disk: see ``memory``.
        shm: see ``memory``.
        time: wall time in seconds, after which a job is ended; None: no limit.
        gpus: graphics processors.
        named: whatever else the run has so many of (``repro run --resource licences=2``).
    """

    cpus: Amount = 1
    memory: Amount | None = None
    disk: Amount | None = None
    shm: Amount | None = None
    time: Amount | None = None
    gpus: Amount = 0
    named: Mapping[str, Amount] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a failed job is tried again, and how long after: ``pause`` seconds, then ``factor`` times that, ..."""

    count: int = 0
    pause: float = 1.0
    factor: float = 2.0


@dataclass(frozen=True, slots=True)
class Step:
    """A declared step. Exactly one of ``run`` (shell text or an exec-form list) and ``script`` (a project path) is set.

    ``marks`` say where each value stands in the file: ``run``, ``script``, ``foreach``, ``environment``,
    ``inputs.reads``, ``inputs.reads.0``, ``outputs.bam``, ``params.fdr``.
    """

    name: str
    where: Location
    environment: str
    inputs: Mapping[str, Input]
    outputs: Mapping[str, OutputSpec]
    run: str | tuple[str, ...] | None = None
    run_where: Location | None = None
    script: str | None = None
    foreach: Foreach | None = None
    params: Mapping[str, Value] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    network: bool = False
    secrets: tuple[str, ...] = ()  # names; a job sees each as the file /run/secrets/NAME
    retries: Retries = field(default_factory=Retries)
    when: str | None = None  # an expression over params; the step has no jobs where it is false
    logs: Mapping[str, str] = field(default_factory=dict)  # name to path template: kept also of a job that failed
    checkpoint: str | None = None  # path template of a folder that survives failed attempts at the same job key
    fetch: bool = False  # has the network; its outputs are locked at the first run, and must come out the same later
    entrypoint: bool = False  # ``entrypoint: image``: the image's ENTRYPOINT stands before the words of ``run``
    user: str | None = None  # ``image`` (what the image says), or a number; None: root of the container
    marks: Mapping[str, Location] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Workflow:
    """A whole workflow. ``code`` are the files and folders that every script may import (``defaults.code``).

    ``source`` is the text it was read from, for excerpts in later messages; None where it was made by hand.
    """

    file: str
    name: str
    params: Mapping[str, Value]
    environments: Mapping[str, Environment]
    steps: Mapping[str, Step]
    code: tuple[str, ...] = ()
    source: Source | None = field(default=None, repr=False, compare=False)
    code_where: tuple[Location, ...] = field(default=(), repr=False, compare=False)
    inputs: Mapping[str, DataSource] = field(default_factory=dict)  # by project path
    publish: Mapping[str, PublishTarget] = field(default_factory=dict)  # by project path

    def archive_bases(self) -> tuple[ArchiveBase, ...]:
        """Return the bases that environments have made from an archive, each once, in declared order."""
        declared = [env.base for env in self.environments.values() if isinstance(env, TemplateEnvironment)]
        return tuple(dict.fromkeys(base for base in declared if isinstance(base, ArchiveBase)))


@dataclass(frozen=True, slots=True)
class JobInput:
    """A bound input: project paths in order (folders end in ``/``); ``companions`` are staged and keyed with them."""

    paths: tuple[str, ...]
    many: bool
    companions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobOutput:
    """A bound output: a project path; ``folder`` paths keep their trailing slash."""

    path: str
    folder: bool
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """A step bound to one combination of its foreach values.

    Attributes:
        id: unique and readable: ``align`` or ``align[sample=a,lane=1]``.
        bindings: the foreach values that identify the job, in declared order.
        values: every foreach value a template may use: the bindings, and columns outside ``by`` as lists in
            table order. ``used`` names those that the step's templates mention: only they are in the job key
            and in ``$REPRO_JOB``.
        params: the params that the step declares or its templates mention, resolved.
        needs: ids of the jobs whose outputs this one reads.
        code: project paths of the script and of ``defaults.code``; staged like inputs.
    """

    id: str
    step: Step
    bindings: Mapping[str, str]
    values: Mapping[str, str | tuple[str, ...]]
    used: tuple[str, ...]
    params: Mapping[str, Value]
    inputs: Mapping[str, JobInput]
    outputs: Mapping[str, JobOutput]
    needs: tuple[str, ...]
    code: tuple[str, ...]
    logs: Mapping[str, str] = field(default_factory=dict)  # name to project path
    checkpoint: str | None = None  # project path of a folder, with its slash
    resource_params: Mapping[str, Value] = field(default_factory=dict)  # what `resources` mention besides: in no key


@dataclass(frozen=True, slots=True)
class Deferred:
    """A step whose jobs cannot be known yet: it ranges over what ``waits`` (step names) make, or reads such a step."""

    step: str
    waits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All jobs in an order in which each follows those it needs; the order depends on the file's content alone.

    ``deferred`` steps have no jobs yet. `repro.workflow.plan.plan` gives them theirs once it is told that the steps
    they wait for are ``done``; all other jobs stay what they were.
    """

    workflow: Workflow
    jobs: tuple[Job, ...]
    deferred: tuple[Deferred, ...] = ()
