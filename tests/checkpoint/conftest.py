import pytest
from exports import attached_checkpoint


@pytest.fixture(scope="module", params=["llava", "qwen2_5_vl"])
def checkpoint(request, tmp_path_factory):
    """`(folder, tensor names of the stock model, scores (2, 2) of PICTURES)`."""
    return attached_checkpoint(request.param, tmp_path_factory.mktemp(request.param))
