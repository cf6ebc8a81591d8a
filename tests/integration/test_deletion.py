"""What a deletion does to a model, its data set and its evidence."""

from __future__ import annotations

import numpy as np
import pytest

from core.audit.verify import verify_certificate
from core.domain import errors
from core.domain.deletion import CopiesPolicy
from core.domain.manifest import Manifest
from core.domain.references import owner_reference
from core.lattice.placement import place
from core.persistence import audit, datasets, models, nodes, requests
from core.use_cases.answer_once import OnceKey
from core.use_cases.decide_deletion import Decision, decide_deletion
from core.use_cases.doors import DEFAULT_TENANT, Doors
from core.use_cases.preview_deletion import preview_deletion
from core.use_cases.read_certificates import read_certificate, read_proof, verification_keys
from core.use_cases.record_reconsent import record_reconsent
from core.use_cases.register_dataset import register_dataset
from core.use_cases.resolve_subjects import DeletionOrder, Identity
from tests.integration import world
from tests.integration.world import (
    ADMIN,
    NOTHING,
    OTHER,
    OWNERS,
    PLACEMENT_KEY,
    ROWS_EACH,
    add_dataset,
    add_model,
    address,
    ask,
    ask_records,
    built,
    deactivate,
    drain,
    make_recipe,
    model_of,
    request_of,
    serving,
)


def manifest_of(doors: Doors, model: str) -> Manifest:
    return Manifest.from_json(serving(doors, model)["manifest"]["content"])


def place_of(doors: Doors, owner: int) -> tuple[int, int]:
    reference = owner_reference(doors.tenant_key(DEFAULT_TENANT), "email", address(owner))
    where = place(PLACEMENT_KEY, reference, shards=2, slices=3)
    return where.shard, where.slice


def test_after_a_deletion_nothing_served_saw_the_slice_and_no_node_needs_a_dead_one(doors: Doors) -> None:
    model = built(doors, repair=False)
    shard, number = place_of(doors, 5)
    before = manifest_of(doors, model)
    ask(doors, 5)
    deactivate(doors)
    after = manifest_of(doors, model)
    assert any(node.shard == shard and number in node.slices for node in before.nodes)
    assert not any(node.shard == shard and number in node.slices for node in after.nodes)
    with doors.database.transaction() as session:
        live = {row.key for row in nodes.live_nodes(session, model)}
        parents = {row.parent for row in nodes.live_nodes(session, model)} - {None}
    assert {node.key for node in after.nodes} <= live
    assert parents <= live
    assert model_of(doors, model)["nodes"]["dead"] == 4  # of 7 sets of 3 slices, 4 hold any one slice


def test_the_untouched_shard_serves_the_same_nodes_as_before(doors: Doors) -> None:
    model = built(doors, repair=False)
    shard, _ = place_of(doors, 5)
    before = manifest_of(doors, model).served[1 - shard]
    ask(doors, 5)
    deactivate(doors)
    assert manifest_of(doors, model).served[1 - shard] == before


def test_a_request_ends_completed_with_a_certificate_that_verifies(doors: Doors) -> None:
    built(doors)
    receipt = ask(doors, 5, external_id="case-1", regulation="gdpr")
    assert receipt["records"] == ROWS_EACH
    drain(doors)
    done = request_of(doors, receipt["id"])
    assert (done["state"], done["result"]) == ("completed", "unlearned")
    assert [one["guarantee"] for one in done["certificates"]] == ["influence_free", "retrain_equivalent"]
    keys = verification_keys(doors).split()
    with doors.database.transaction() as session:
        log = list(audit.bodies(session))
    for one in done["certificates"]:
        envelope = read_certificate(one["id"], caller=ADMIN, doors=doors)
        proof = read_proof(one["id"], caller=ADMIN, doors=doors)
        verdict = verify_certificate(envelope, proof, keys, log)
        assert verdict.failures == []
        broken = envelope.replace(b'"payload":"e', b'"payload":"f', 1)
        assert not verify_certificate(broken, proof, keys).valid


def test_the_keys_of_dead_nodes_and_of_the_owners_rows_are_gone_and_others_stay(doors: Doors) -> None:
    model = built(doors, repair=False)
    dataset = model_of(doors, model)["dataset"]
    owner = owner_reference(doors.tenant_key(DEFAULT_TENANT), "email", address(5))
    other = owner_reference(doors.tenant_key(DEFAULT_TENANT), "email", address(6))
    with doors.database.transaction() as session:
        (block,) = datasets.blocks_of(session, dataset, owner, public=False)
        (spared,) = datasets.blocks_of(session, dataset, other, public=False)
    receipt = ask(doors, 5)
    deactivate(doors)
    with doors.database.transaction() as session:
        dead = nodes.died_for(session, model, receipt["id"])
        live = nodes.live_nodes(session, model)
        assert not requests.open_erasures(session, receipt["id"])
    assert not doors.keys.exists(block.key_id)
    assert doors.keys.exists(spared.key_id)
    assert dead
    assert not any(doors.keys.exists(row.data_key_id) for row in dead)
    assert not any(doors.store.exists(row.object_digest) for row in dead)
    assert all(doors.keys.exists(row.data_key_id) and doors.store.exists(row.object_digest) for row in live)


def test_repair_brings_back_every_node_and_full_depth(doors: Doors) -> None:
    model = built(doors)
    ask(doors, 5)
    deactivate(doors)
    assert model_of(doors, model)["serving"]["guarantee"] == "influence_free"
    drain(doors)
    state = model_of(doors, model)
    assert state["serving"]["guarantee"] == "retrain_equivalent"
    assert state["serving"]["depths"] == [3, 3]


def test_a_deletion_succeeds_also_when_every_shard_dies_and_a_public_model_answers_degraded(doors: Doors) -> None:
    model = built(doors, repair=False)
    receipt = ask(doors, *range(OWNERS))
    deactivate(doors)
    state = model_of(doors, model)
    assert state["serving"]["degraded"]
    assert state["serving"]["depths"] == [0, 0]
    assert request_of(doors, receipt["id"])["state"] == "completed"


def test_the_preview_says_what_then_happens_and_does_nothing(doors: Doors) -> None:
    model = built(doors, repair=False)
    order = DeletionOrder(identities=(Identity("email", address(5)),))
    said = preview_deletion(order, caller=ADMIN, doors=doors)["models"][0]
    assert model_of(doors, model)["nodes"]["dead"] == 0
    ask(doors, 5)
    deactivate(doors)
    state = model_of(doors, model)
    assert said["nodes_switched_off"] == state["nodes"]["dead"]
    assert said["depths_left"] == state["serving"]["depths"]
    assert said["repair_cost"]["slice_epochs"] == 1 + 2 + 2 + 3


def test_a_subject_nobody_knows_gets_a_certificate_that_says_never_trained(doors: Doors) -> None:
    built(doors)
    receipt = ask(doors, 999)
    drain(doors)
    done = request_of(doors, receipt["id"])
    assert (done["state"], done["result"], done["records"]) == ("completed", "never_trained", 0)
    one = done["certificates"][0]["id"]
    verdict = verify_certificate(
        read_certificate(one, caller=ADMIN, doors=doors),
        read_proof(one, caller=ADMIN, doors=doors),
        verification_keys(doors).split(),
    )
    assert verdict.failures == []


def test_an_owner_in_the_backbones_public_part_needs_attention_and_gets_no_certificate(doors: Doors) -> None:
    add_dataset(doors, public_owner=address(5))
    add_model(doors)
    drain(doors)
    receipt = ask(doors, 5)
    drain(doors)
    done = request_of(doors, receipt["id"])
    assert (done["state"], done["wait_reason"], done["certificates"]) == ("needs_attention", "owner_in_backbone", [])


def test_single_records_are_deleted_and_the_owners_other_rows_stay_readable(doors: Doors) -> None:
    model = built(doors)
    receipt = ask_records(doors, "row-5-0")
    drain(doors)
    assert request_of(doors, receipt["id"])["state"] == "completed"
    assert model_of(doors, model)["deleted_records"] == 1
    assert model_of(doors, model)["serving"]["guarantee"] == "retrain_equivalent"
    owner = owner_reference(doors.tenant_key(DEFAULT_TENANT), "email", address(5))
    with doors.database.transaction() as session:
        (block,) = datasets.blocks_of(session, model_of(doors, model)["dataset"], owner, public=False)
        assert block.records == ROWS_EACH - 1
        assert len(datasets.records_of_owners(session, DEFAULT_TENANT, {owner})) == ROWS_EACH - 1


def test_identical_contents_of_others_are_counted_and_either_certified_or_deleted_too(doors: Doors) -> None:
    rows = world.columns()
    first, other = 12 + 5 * ROWS_EACH, 12 + 9 * ROWS_EACH
    rows["images"][other], rows["labels"][other] = rows["images"][first], rows["labels"][first]
    files = {"file": world.packed(rows)}
    registered = register_dataset("pictures", world.SCHEMA, files, caller=ADMIN, once=world.NOTHING, doors=doors).body
    assert registered["copies_under_other_owners"] == 2
    model = add_model(doors)
    drain(doors)
    receipt = ask_records(doors, "row-5-0")
    assert receipt["copies"] == {"under_other_owners": 1, "policy": "report"}
    drain(doors)
    certificate = request_of(doors, receipt["id"])["certificates"][0]["id"]
    verdict = verify_certificate(
        read_certificate(certificate, caller=ADMIN, doors=doors),
        read_proof(certificate, caller=ADMIN, doors=doors),
        verification_keys(doors).split(),
    )
    assert any("identical content remain" in sentence for sentence in verdict.asserted)
    expanded = ask_records(doors, "row-9-0", copies=CopiesPolicy.EXPAND)
    assert expanded["records"] == 1  # the first copy is gone already
    drain(doors)
    assert model_of(doors, model)["deleted_records"] == 2


def test_a_request_for_one_model_leaves_the_data_set_and_other_models_alone(doors: Doors) -> None:
    first = built(doors)
    second = add_model(doors, "second")
    drain(doors)
    before = serving(doors, second)["manifest_digest"]
    receipt = ask(doors, 5, models=("classifier",))
    drain(doors)
    assert serving(doors, second)["manifest_digest"] == before
    assert model_of(doors, first)["deleted_records"] == ROWS_EACH
    owner = owner_reference(doors.tenant_key(DEFAULT_TENANT), "email", address(5))
    with doors.database.transaction() as session:
        assert len(datasets.records_of_owners(session, DEFAULT_TENANT, {owner})) == ROWS_EACH
    assert request_of(doors, receipt["id"])["result"] == "unlearned"


def test_without_a_scope_every_model_that_saw_the_subject_forgets(doors: Doors) -> None:
    first = built(doors)
    second = add_model(doors, "second")
    drain(doors)
    receipt = ask(doors, 5)
    drain(doors)
    assert len(receipt["jobs"]) == 2
    assert {model_of(doors, model)["deleted_records"] for model in (first, second)} == {ROWS_EACH}
    assert {one["model"] for one in request_of(doors, receipt["id"])["certificates"]} == {first, second}


def test_a_deleted_owner_who_is_uploaded_again_is_refused_by_row_and_not_by_name(doors: Doors) -> None:
    built(doors)
    ask(doors, 5)
    with pytest.raises(errors.OwnerSuppressed) as refused:
        add_dataset(doors, "again")
    assert [flaw.pointer for flaw in refused.value.flaws] == ["row 22", "row 23"]
    assert address(5) not in str(refused.value) + repr(refused.value.flaws)
    add_dataset(doors, "without-them", without=(5,))


def test_an_owner_who_consents_anew_may_come_back(doors: Doors) -> None:
    built(doors)
    ask(doors, 5)
    drain(doors)
    said = record_reconsent(Identity("email", address(5)), caller=ADMIN, once=NOTHING, doors=doors).body
    assert said["was_refused"]
    add_dataset(doors, "again")
    assert not record_reconsent(Identity("email", address(6)), caller=ADMIN, once=NOTHING, doors=doors).body[
        "was_refused"
    ]


def test_two_people_approve_when_the_policy_says_so(doors: Doors) -> None:
    model = built(doors, approval_required=True)
    receipt = ask(doors, 5)
    assert (receipt["state"], receipt["wait_reason"]) == ("pending_approval", "approval")
    drain(doors)
    assert model_of(doors, model)["nodes"]["dead"] == 0
    with pytest.raises(errors.ApproverIsRequester):
        decide_deletion(receipt["id"], Decision.APPROVE, caller=ADMIN, once=NOTHING, doors=doors)
    with pytest.raises(errors.StaleRowVersion):
        decide_deletion(receipt["id"], Decision.APPROVE, caller=OTHER, once=NOTHING, doors=doors, seen=99)
    decide_deletion(
        receipt["id"], Decision.APPROVE, caller=OTHER, once=NOTHING, doors=doors, seen=receipt["row_version"]
    )
    drain(doors)
    assert request_of(doors, receipt["id"])["state"] == "completed"


def test_a_denied_request_does_nothing_and_lets_the_owner_back_in(doors: Doors) -> None:
    model = built(doors, approval_required=True)
    receipt = ask(doors, 5)
    assert (
        decide_deletion(receipt["id"], Decision.DENY, caller=OTHER, once=NOTHING, doors=doors).body["state"] == "denied"
    )
    drain(doors)
    assert model_of(doors, model)["nodes"]["dead"] == 0
    add_dataset(doors, "again")


def test_denying_a_second_request_does_not_let_a_deleted_owner_back_in(doors: Doors) -> None:
    model = built(doors, repair=False)
    ask(doors, 5)
    deactivate(doors)
    with doors.database.transaction() as session:
        session.execute(models.models.update().where(models.models.c.id == model).values(approval_required=True))
    second = ask(doors, 5)
    decide_deletion(second["id"], Decision.CANCEL, caller=ADMIN, once=NOTHING, doors=doors)
    with pytest.raises(errors.OwnerSuppressed):
        add_dataset(doors, "again")


def test_a_request_is_cancelled_until_a_worker_begins(doors: Doors) -> None:
    model = built(doors)
    receipt = ask(doors, 5)
    assert (
        decide_deletion(receipt["id"], Decision.CANCEL, caller=ADMIN, once=NOTHING, doors=doors).body["state"]
        == "cancelled"
    )
    drain(doors)
    assert model_of(doors, model)["nodes"]["dead"] == 0
    second = ask(doors, 6)
    drain(doors)
    with pytest.raises(errors.RequestNotCancellable):
        decide_deletion(second["id"], Decision.CANCEL, caller=ADMIN, once=NOTHING, doors=doors)


def test_one_idempotency_key_with_another_body_is_refused(doors: Doors) -> None:
    built(doors)
    ask(doors, 5, key="the-one")
    with pytest.raises(errors.IdempotencyKeyReused):
        ask(doors, 6, key="the-one")


def test_a_second_request_about_the_same_owner_is_linked_and_certified_too(doors: Doors) -> None:
    built(doors)
    first = ask(doors, 5)
    second = ask(doors, 5)
    assert second["related"] == [first["id"]]
    drain(doors)
    assert request_of(doors, second["id"])["state"] == "completed"
    assert request_of(doors, second["id"])["certificates"]


def test_a_registration_with_too_few_owners_is_refused_with_a_proposal(doors: Doors) -> None:
    add_dataset(doors)
    with pytest.raises(errors.TooFewOwners, match="2 shards of 3 slices would do"):
        add_model(doors, recipe=make_recipe(shards=5))
    with pytest.raises(errors.TooFewLayers):
        add_model(doors, recipe=make_recipe(slices=4, shards=1))


def test_a_slice_nobody_is_in_is_never_served_alone(doors: Doors) -> None:
    model = built(doors, recipe=make_recipe(shards=1, slices=3), repair=False)
    with doors.database.transaction() as session:
        session.execute(nodes.nodes.update().where(nodes.nodes.c.slices == [1]).values(records=0))
        keep = nodes.nodes.c.slices == [1]
        session.execute(nodes.nodes.update().where(~keep).values(state="dead"))
        live = nodes.live_nodes(session, model)
        assert nodes.servable(live, 3) == []
        assert len(live) == 1


def test_twelve_thousand_records_are_deleted_at_once(doors: Doors) -> None:
    columns = world.columns()
    owners = [owner for owner in range(OWNERS) for _ in range(500)]
    many = {
        "images": np.zeros((len(owners), 4, 4), np.uint8),
        "labels": np.array(["a"] * len(owners)),
        "owners": np.array([address(owner) for owner in owners]),
        "record_ids": np.array([f"many-{n}" for n in range(len(owners))]),
        "public": np.zeros(len(owners), bool),
    }
    rows = {name: np.concatenate([columns[name][: world.PUBLIC], many[name]]) for name in many}
    files = {"file": world.packed(rows)}
    register_dataset("pictures", world.SCHEMA, files, caller=ADMIN, once=NOTHING, doors=doors)
    model = add_model(doors)
    ask(doors, *range(OWNERS))
    deactivate(doors)
    assert model_of(doors, model)["deleted_records"] == len(owners)


def test_an_upload_that_is_repeated_or_refused_leaves_no_key_behind(doors: Doors) -> None:
    files = {"file": world.packed(world.columns())}
    once = OnceKey(route="upload", key="the-one", body=b"")
    register_dataset("pictures", world.SCHEMA, files, caller=ADMIN, once=once, doors=doors)
    keys = sorted(doors.keys.list_ids())
    assert register_dataset("pictures", world.SCHEMA, files, caller=ADMIN, once=once, doors=doors).replayed
    with pytest.raises(errors.NameTaken):
        register_dataset("pictures", world.SCHEMA, files, caller=ADMIN, once=NOTHING, doors=doors)
    assert sorted(doors.keys.list_ids()) == keys
