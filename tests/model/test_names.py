"""The early look at a name never refuses an encoder that timm has."""

import pytest
import timm
from timm.models import _registry

from dbnet.errors import InputError
from dbnet.model import names


def test_every_name_that_timm_accepts_passes():
    accepted = {*timm.list_models(), *timm.list_models(pretrained=True)}
    accepted |= {*_registry._model_entrypoints, *_registry._deprecated_models}
    assert len(accepted) > 1000 and all(timm.is_model(name) for name in accepted)
    for name in sorted(accepted):
        names.refuse_unknown(name)


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18.a1_in1k", "local-dir:/nowhere"])
def test_names_of_other_sources_are_left_to_timm(name):
    names.refuse_unknown(name)


@pytest.mark.parametrize("name", ["resnet999", "esnet18", "resnet999.a1_in1k", "resnet1[8]"])
def test_a_name_that_no_file_has_is_refused(name):
    with pytest.raises(InputError, match="timm has no such model"):
        names.refuse_unknown(name)


def test_without_timm_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(names, "find_spec", lambda name: None)
    names._source_of_models.cache_clear()
    names.refuse_unknown("resnet999")
    names._source_of_models.cache_clear()
