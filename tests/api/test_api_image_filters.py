"""Times that images bear."""

from __future__ import annotations

import pytest

from repro.api.image_filters import created_at
from repro.oci.model import ImageConfig


@pytest.mark.parametrize("created", [None, "", "yesterday"])
def test_an_image_may_bear_no_time(created):
    """Then no filter of times knows where it belongs, and nothing fails."""
    assert created_at(ImageConfig("amd64", created=created)) is None
