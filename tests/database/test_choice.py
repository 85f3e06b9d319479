"""Which model a client goes on with, and what it refuses."""

from __future__ import annotations

import dataclasses

import pytest

from siglip_ingest import active_model
from siglip_ingest.db import Database
from siglip_ingest.db.models import (
    activate_model,
    check_image_settings,
    check_same_model,
    describe_model,
    find_model,
    register_model,
)
from siglip_ingest.errors import ConfigurationError
from siglip_ingest.types import ModelInfo

NAFLEX = ModelInfo(
    name="demo",
    revision="sha256:1",
    dimension=4,
    logit_scale=2.0,
    logit_bias=-1.0,
    image_settings={"patch_size": 16, "max_num_patches": 256, "resample": 2},
)
FIXED = dataclasses.replace(NAFLEX, image_settings={"size": {"height": 64, "width": 64}, "resample": 2})


def with_settings(info: ModelInfo, **values: object) -> ModelInfo:
    return dataclasses.replace(info, image_settings={**info.image_settings, **values})


def activate(database: Database, info: ModelInfo) -> int:
    with database.connection() as connection:
        model_id = register_model(connection, info.name, info.revision)
        describe_model(connection, model_id, info)
        activate_model(connection, model_id)
    return model_id


@pytest.mark.parametrize("requested", [None, "demo"])
@pytest.mark.parametrize("max_num_patches", [None, 256])
def test_a_client_that_asks_for_what_is_there_gets_it(
    database: Database, requested: str | None, max_num_patches: int | None
) -> None:
    model_id = activate(database, NAFLEX)
    row = active_model.choose_model(database, requested, max_num_patches)
    assert (row.model_id, row.info) == (model_id, NAFLEX)


def test_a_client_that_asks_for_another_number_of_patches_is_refused(database: Database) -> None:
    activate(database, NAFLEX)
    with pytest.raises(ConfigurationError, match=r"asks for 512, but .*'demo' are made with 256\. Unset it"):
        active_model.choose_model(database, None, 512)


def test_a_client_that_asks_for_patches_of_a_model_of_a_fixed_size_is_refused(database: Database) -> None:
    activate(database, FIXED)
    with pytest.raises(ConfigurationError, match=r"SIGLIP_MAX_NUM_PATCHES is 512, but .* not NaFlex"):
        active_model.check_model(database, "demo", 512)


def test_a_change_to_a_model_with_another_number_of_patches_is_refused_though_nothing_is_left_to_embed(
    database: Database,
) -> None:
    naflex = activate(database, NAFLEX)
    activate(database, dataclasses.replace(FIXED, name="someone/fixed"))
    with pytest.raises(ConfigurationError, match=r"asks for 64, but .*'demo' are made with 256\. Unset it"):
        active_model.queue_for_model(database, "demo", 64)
    with pytest.raises(ConfigurationError, match=r"SIGLIP_MAX_NUM_PATCHES is 64, but .*'someone/fixed' is not NaFlex"):
        active_model.queue_for_model(database, "someone/fixed", 64)
    assert active_model.queue_for_model(database, "demo", 256).model_id == naflex


def test_any_number_of_patches_may_be_asked_of_a_model_that_nobody_has_loaded(database: Database) -> None:
    assert active_model.check_model(database, None, 512) is None
    assert active_model.choose_model(database, "demo", 512).info is None


def test_a_row_with_other_image_settings_is_not_described_again(database: Database) -> None:
    model_id = activate(database, NAFLEX)
    with database.connection() as connection, pytest.raises(ConfigurationError, match="SIGLIP_MAX_NUM_PATCHES=256"):
        describe_model(connection, model_id, with_settings(NAFLEX, max_num_patches=512))
    with database.connection() as connection:
        describe_model(connection, model_id, NAFLEX)


def test_vectors_of_images_prepared_differently_are_never_mixed() -> None:
    with pytest.raises(ConfigurationError, match=r"made with resample 2, but preprocessor_config.json says 3"):
        check_same_model(with_settings(FIXED, resample=3), FIXED)
    check_image_settings(with_settings(FIXED, a_new_one=1), with_settings(FIXED, an_old_one=1))


def test_a_row_is_found_by_its_name(database: Database) -> None:
    with database.connection() as connection:
        assert find_model(connection, "demo") is None
    model_id = activate(database, NAFLEX)
    with database.connection() as connection:
        found = find_model(connection, "demo")
    assert found is not None
    assert (found.model_id, found.info) == (model_id, NAFLEX)
