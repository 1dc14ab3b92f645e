"""What the tree of SCST tells the inventory."""

from probes.scst.fix_scst import TGT1, TGT2, Appliance
from storewatchd.core.frames import Found, ObjectKind
from storewatchd.probes.scst.model import COPY_MANAGER, Device, Driver, Scst, Target
from storewatchd.probes.scst.objects import objects_of


def test_targets_and_devices_of_a_real_tree_are_told() -> None:
    found = {
        (one.kind, one.id): one
        for one in Appliance("run1/07-with-sessions-idle").look("scst").objects
    }
    targets = {name for kind, name in found if kind is ObjectKind.SCST_TARGET}
    assert {f"iscsi/{TGT1}", f"iscsi/{TGT2}"} <= targets
    assert not any(name.startswith(COPY_MANAGER) for name in targets)
    devices = {
        name: found[kind, name].facts for kind, name in found if kind is ObjectKind.SCST_DEVICE
    }
    assert devices
    assert all(facts["handler"] for facts in devices.values())
    assert any(int(facts.get("size_bytes", 0)) for facts in devices.values())


def test_the_same_tree_again_is_the_same_object() -> None:
    appliance = Appliance("run1/07-with-sessions-idle")
    assert appliance.look("scst").objects is appliance.look("scst").objects


def test_what_is_not_known_and_what_nobody_exports_is_left_out() -> None:
    scst = Scst(
        drivers=(Driver("qla2x00t", targets=(Target("qla2x00t", "50:01"),)),),
        devices=(Device("3:0:0:0"), Device("disk1", handler="vdisk_fileio", size_bytes=0)),
    )
    assert [*objects_of(scst)] == [
        Found(ObjectKind.SCST_TARGET, "qla2x00t/50:01", {"driver": "qla2x00t"}),
        Found(ObjectKind.SCST_DEVICE, "disk1", {"handler": "vdisk_fileio"}),
    ]
