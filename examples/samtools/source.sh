#!/bin/sh
# The samtools release tarball, from the distribution's own source packages, where no release site is at hand.
#
#   ./source.sh [FOLDER]         make FOLDER/samtools-VERSION.tar.bz2, unless it is there; print its name
#   ./source.sh serve [FOLDER]   make it, then serve FOLDER on 127.0.0.1 until Ctrl-C (port: $PORT, default 8099)
#
# FOLDER is by default ${XDG_CACHE_HOME:-~/.cache}/samtools-source. The archive is the one in this host's apt sources.
# The distribution's tarballs lack `configure` and samtools' bundled libraries: both are put back, as in a release.
set -eu

serve=""
if [ "${1:-}" = serve ]; then
  serve=yes
  shift
fi
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/samtools-source}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

fail() {
  echo "source.sh: $1" >&2
  exit 1
}

# Write the host's own sources, asked for source packages, to the file $1.
source_list() {
  for list in /etc/apt/sources.list.d/*.sources; do
    [ -e "$list" ] && sed 's/^Types:.*/Types: deb-src/' "$list" && echo
  done > "$1"
  [ -s "$1" ] && return
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2> /dev/null | sed -n 's/^deb /deb-src /p' > "${1%.sources}.list"
  [ -s "${1%.sources}.list" ] || fail "this host has no apt sources"
}

# Download and unpack the upstream tarballs of samtools, htslib and htscodecs into the current folder.
fetch() {
  mkdir -p apt/lists/partial apt/cache/archives/partial apt/sources
  source_list "$PWD/apt/sources/host.sources"
  cat > apt/conf << CONF
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$PWD/apt/sources";
Dir::State::Lists "$PWD/apt/lists";
Dir::Cache "$PWD/apt/cache";
APT::Sandbox::User "";
Acquire::Languages "none";
CONF
  APT_CONFIG=$PWD/apt/conf apt-get update -qq
  APT_CONFIG=$PWD/apt/conf apt-get source -qq --download-only --tar-only samtools htslib htscodecs
  for tarball in ./*.orig.tar.*; do tar -xf "$tarball"; done
}

# Put the three together as samtools' own release has them; print the name of the folder.
assemble() {
  samtools=$(echo samtools-*/)
  htslib=$(echo htslib-*/)
  htscodecs=$(echo htscodecs-*/)
  rm -rf "$htslib/htscodecs" "$samtools/$htslib"
  mv "$htscodecs" "$htslib/htscodecs"
  version=${htscodecs#htscodecs-}
  printf '#define HTSCODECS_VERSION_TEXT "%s"\n' "${version%/}" > "$htslib/htscodecs/htscodecs/version.h"
  mv "$htslib" "$samtools"
  (cd "$samtools/$htslib" && autoreconf -i && rm -rf autom4te.cache) >&2
  (cd "$samtools" && autoheader && autoconf -Wno-syntax && rm -rf autom4te.cache) >&2
  echo "${samtools%/}"
}

make_tarball() {
  for tool in autoreconf autoheader autoconf automake bzip2; do
    command -v "$tool" > /dev/null || fail "$tool is missing: apt-get install autoconf automake bzip2"
  done
  work=$(mktemp -d "$folder/.work.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  cd "$work"
  fetch >&2
  name=$(assemble)
  tar --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime=@1662000000 -cjf new.tar.bz2 "$name"
  mv new.tar.bz2 "$folder/$name.tar.bz2"
  cd "$folder"
  rm -rf "$work"
  trap - EXIT
}

found() {
  for tarball in "$folder"/samtools-*.tar.bz2; do
    [ -e "$tarball" ] && echo "$tarball" && return
  done
  return 1
}

found > /dev/null || make_tarball
found
[ -z "$serve" ] || exec python3 -m http.server "${PORT:-8099}" --bind 127.0.0.1 --directory "$folder"
