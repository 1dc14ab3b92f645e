"""What each place of SCST's tree holds, as SCST 3.11 shows it: names, and contents byte for byte.

Templates of contents may hold `{name}` and the like; a value without a newline is one that has
none there. Attributes that can only be written are empty and of mode 0200.
"""

from collections.abc import Mapping

Attributes = Mapping[str, str]

WRITE_ONLY = frozenset(
    ("dump_prs", "force_close", "gen_tp_soft_threshold_reached_UA", "resync_size", "sync")
)
SECRET = frozenset(("IncomingUser", "OutgoingUser"))
KEY = "[key]\n"

_TOKENS = "function, line, pid, out_of_mem, special, scsi, mgmt, minor, scsi_serializing, retry, pr"
_TRACE_LEVEL = (
    "out_of_mem | pid | special | mgmt\n\n\nUsage:\n"
    '\techo "all|none|default" >trace_level\n'
    '\techo "value DEC|0xHEX|0OCT" >trace_level\n'
    '\techo "add|del TOKEN" >trace_level\n\n'
    f"where TOKEN is one of [{_TOKENS}]\n"
)
_PARAMETERS = "\nwhere parameters are one or more param_name=value pairs separated by ';'\n"


def _usage(*commands: str) -> str:
    first, *others = (f'echo "{command}" >mgmt\n' for command in commands)
    return "Usage: " + first + "".join(f"       {other}" for other in others)


GROUPS_MGMT = _usage("create GROUP_NAME", "del GROUP_NAME")
LUNS_MGMT = (
    _usage(
        *("add H:C:I:L lun [parameters]", "add VNAME lun [parameters]", "del lun"),
        *("replace H:C:I:L lun [parameters]", "replace VNAME lun [parameters]"),
        *("replace_no_ua H:C:I:L lun [parameters]", "replace_no_ua VNAME lun [parameters]"),
        "clear",
    )
    + _PARAMETERS
    + "\nThe following parameters available: read_only\n"
)
INITIATORS_MGMT = _usage(
    *("add INITIATOR_NAME", "del INITIATOR_NAME"),
    *("move INITIATOR_NAME DEST_GROUP_NAME", "clear"),
)
DEVICE_GROUPS_MGMT = _usage("create group_name", "del group_name")
GROUP_DEVICES_MGMT = _usage("add device", "del device")
TARGET_GROUP_MGMT = _usage("add target", "del target")

ROOT: Attributes = {
    "async_lun_replace": "0\n",
    "cluster_name": "",
    "force_global_sgv_pool": "0\n",
    "last_sysfs_mgmt_res": "0\n",
    "max_tasklet_cmd": "10\n",
    "measure_latency": "0\n",
    "poll_us": "0\n",
    "setup_id": "0x0\n",
    "suspend": "0\n",
    "threads": "2\n",
    "trace_cmds": "",
    "trace_level": _TRACE_LEVEL,
    "trace_mcmds": "",
    "version": (
        "SCST version: 3.11.0-pre\nSCST build date: 2026/11/23-21:19:14-UTC+00:00\n"
        "SCST build number: 0\nSCST git commit sha1: \nSCST kver: 6.1.0-56-amd64\n"
        "SCST arch type: x86_64\nSCST config: TRACING\n"
    ),
}

DISK = "0 - Direct-access device (e.g., magnetic disk)\n"
TAPE = "1 - Sequential-access device (e.g., magnetic tape)\n"
CDROM = "5 - CD-ROM device\n"
OPTICAL = "7 - Optical memory device (e.g., some optical disks)\n"
CHANGER = "8 - Medium changer device (e.g., jukeboxes)\n"

HANDLERS: Mapping[str, str] = {
    "dev_cdrom": CDROM,
    "dev_changer": CHANGER,
    "dev_disk": DISK,
    "dev_disk_perf": DISK,
    "dev_modisk": OPTICAL,
    "dev_modisk_perf": OPTICAL,
    "dev_processor": "3 - Processor device\n",
    "dev_raid": "12 - Storage array controller device (e.g., RAID)\n",
    "dev_tape": TAPE,
    "dev_tape_perf": TAPE,
    "scst_user": "-1 - unknown\n",
    "vcdrom": CDROM,
    "vdisk_blockio": DISK,
    "vdisk_fileio": DISK,
    "vdisk_nullio": DISK,
}
HANDLER: Attributes = {
    "mgmt": _usage("add_device device_name [parameters]", "del_device device_name"),
    "trace_level": _TRACE_LEVEL,
}

# What the device of any handler has; pass-through devices have nothing more.
DEVICE: Attributes = {
    "block": "0 0\n",
    "dump_prs": "",
    "max_tgt_dev_commands": "64\n",
    "numa_node_id": "-1\n",
    "pr_file_name": "/var/lib/scst/pr/{name}\n",
    "pr_state": "version 1\ngeneration 0\n",
}
VIRTUAL: Attributes = {
    "eui64_id": "\n",
    "inq_vend_specific": "\n",
    "naa_id": "\n",
    "prod_id": "{name:.16}\n",
    "prod_rev_lvl": "3110\n",
    "scsi_device_name": "\n",
    "size": "{size}\n",
    "size_mb": "{size_mb}\n",
    "t10_dev_id": "{number}-{name:.16}\n",
    "t10_vend_id": "{vendor}\n",
    "threads_num": "{threads}\n",
    "threads_pool_type": "per_initiator\n",
    "tst": "1\n",
    "usn": "{number}\n",
    "vend_specific_id": "{number}-{name:.16}\n",
}
_DISKS: Attributes = {
    "blocksize": "512\n",
    "cluster_mode": "0\n",
    "opt_trans_len": "524288\n",
    "read_only": "0\n",
    "removable": "0\n",
    "rotational": "1\n",
}
_BACKED: Attributes = {
    "active": "1\n",
    "bind_alua_state": "0\n",
    "expl_alua": "0\n",
    "filename": "{filename}\n",
    "lb_per_pb_exp": "1\n",
    "nv_cache": "0\n",
    "resync_size": "",
    "sync": "",
    "thin_provisioned": "0\n",
    "write_through": "0\n",
}
KIND_OF: Mapping[str, Attributes] = {
    "vdisk_fileio": {**VIRTUAL, **_DISKS, **_BACKED, "async": "0\n", "o_direct": "0\n"},
    "vdisk_blockio": {
        **VIRTUAL,
        **_DISKS,
        **_BACKED,
        "bind_alua_state": "1\n",
        "gen_tp_soft_threshold_reached_UA": "",
        "thin_provisioned": "1\n",
    },
    "vdisk_nullio": {**VIRTUAL, **_DISKS, "dummy": "0\n", "read_zero": "0\n"},
    "vcdrom": {**VIRTUAL, "filename": "{filename}\n"},
}

DRIVERS: Mapping[str, Attributes] = {
    "copy_manager": {
        "allow_not_connected_copy": "0\n",
        "dif_capabilities": (
            "dif_supported, hw_dif_type1_supported, hw_dif_type2_supported, "
            "hw_dif_type3_supported\n"
        ),
    },
    "iscsi": {
        "mgmt": _usage("add_target target_name [parameters]", "del_target target_name"),
        "open_state": "open\n",
        "trace_level": _TRACE_LEVEL,
        "version": "3.11.0-pre\nTRACING\n",
    },
    "scst_local": {
        "mgmt": _usage("add_target target_name [parameters]", "del_target target_name"),
        "stats": "Aborts: 0, Device Resets: 0, Target Resets: 0\n",
        "trace_level": _TRACE_LEVEL,
        "version": "3.11.0-pre/20110901\nTRACING\n",
    },
    "qla2x00t": {"trace_level": _TRACE_LEVEL, "version": "3.11.0-pre\n"},
}
# What the daemon of iSCSI serves: gone with it.
ISCSI_SERVED: Attributes = {
    "enabled": "1\n\n",
    "iSNSServer": "\n\n",
    "internal_portal": "\n\n",
    "isns_entity_name": "\n",
    "link_local": "1\n\n",
}

DIRECTIONS = ("bidi", "none", "read", "unknown", "write")
COUNTERS = (
    *(f"{direction}_cmd_count" for direction in DIRECTIONS),
    *(f"{direction}_io_count_kb" for direction in ("bidi", "read", "write")),
    *(f"{direction}_unaligned_cmd_count" for direction in ("bidi", "read", "write")),
)
_ZEROS: Attributes = dict.fromkeys(COUNTERS, "0\n")

_DIF_CHECKS = "\tapp\tref\tguard\ntgt\t0\t0\t0\nscst\t0\t0\t0\ndev\t0\t0\t0\n"

TARGET: Attributes = {
    **_ZEROS,
    "addr_method": "PERIPHERAL\n",
    "aen_disabled": "0\n",
    "black_hole": "0\n",
    "comment": "",
    "cpu_mask": "3\n",
    "forward_dst": "0\n",
    "forward_src": "0\n",
    "forwarding": "0\n",
    "io_grouping_type": "auto\n",
    "rel_tgt_id": "0\n",
    "sg_tablesize": "65535\n",
}
_NEGOTIABLE: Attributes = {
    "DataDigest": "None\n",
    "FirstBurstLength": "65536\n",
    "HeaderDigest": "None\n",
    "ImmediateData": "Yes\n",
    "InitialR2T": "No\n",
    "MaxBurstLength": "1048576\n",
    "MaxRecvDataSegmentLength": "1048576\n",
}
TARGET_OF: Mapping[str, Attributes] = {
    "copy_manager": {
        "dif_capabilities": DRIVERS["copy_manager"]["dif_capabilities"],
        "dif_checks_failed": _DIF_CHECKS,
    },
    "iscsi": {
        **_NEGOTIABLE,
        "MaxOutstandingR2T": "32\n",
        "MaxSessions": "0\n",
        "MaxXmitDataSegmentLength": "1048576\n",
        "NopInInterval": "30\n",
        "NopInTimeout": "30\n",
        "QueuedCommands": "32\n",
        "RDMAExtensions": "No\n",
        "RspTimeout": "90\n",
        "alias": "\n",
        "enabled": "1\n",
        "per_portal_acl": "0\n\n",
        "redirect": "\n",
        "tid": "{tid}\n",
    },
    "scst_local": {"phys_transport_version": "0x0\n", "scsi_transport_version": "0xbe0\n"},
    "qla2x00t": {"enabled": "1\n", "hw_target": "1\n", "node_name": "{name}\n"},
}

GROUP: Attributes = {
    "addr_method": "PERIPHERAL\n",
    "black_hole": "0\n",
    "cpu_mask": "3\n",
    "io_grouping_type": "auto\n",
    "per_sess_dedicated_tgt_threads": "0\n",
}

SESSION: Attributes = {
    **_ZEROS,
    "active_commands": "0\n",
    "commands": "0\n",
    "initiator_name": "{initiator}\n",
}
SESSION_OF: Mapping[str, Attributes] = {
    "copy_manager": {"dif_checks_failed": _DIF_CHECKS},
    "iscsi": {
        **_NEGOTIABLE,
        "MaxOutstandingR2T": "1\n",
        "MaxXmitDataSegmentLength": "262144\n",
        "force_close": "",
        "reinstating": "0\n",
        "sid": "{sid}\n",
        "thread_pid": "489 490 491 492\n",
    },
    "scst_local": {
        "force_close": "",
        "host_no": "6\n",
        "transport_id": "\x06\0\0\0_lab@\x1fadP\0\0\0\0\0\0\0\0\0\0\0\0",  # binary
    },
    "qla2x00t": {"force_close": ""},
}
CONNECTION: Attributes = {
    "cid": "0",
    "ip": "{address}",
    "state": "established idle ",
    "target_ip": "127.0.0.1",
    "transport": "iSCSI-TCP\n",
}
SESSION_LUN: Attributes = {
    "active_commands": "0\n",
    "thread_index": "2\n",
    "thread_pid": "1095 1094 1093 1092 1091 1090 1089 1088\n",
}
LATENCY: Attributes = {
    f"{kind}{512 << shift}": "state count min max avg stddev\n"
    for kind in "bnrw"
    for shift in range(11)
}

SGV_POOLS = tuple(
    f"sgv{kind}{node}" for kind in ("", "-clust", "-dma") for node in ("", "-0", "-1")
)


def sgv_stats(pool: str) -> str:
    """Return the statistics of a memory pool that has not been used."""
    head = f"{'Name':<31}{'Hit':<12}{'Total':<12}{'% merged':<12}Cached (P/I/O)\n"
    sizes = (f"  {pool}-{4 << shift}K" for shift in range(11))
    lines = "".join(f"{name:<31}{0:<12}{0:<12}0\n" for name in sizes)
    return f"{head}{pool:<31}{0:<12}{0:<12}{0:<12}0/0/0\n{lines}{'  big/other':<43}{'0/0':<12}0/0\n"


# Of a tree in which only the size matters.
LEAN_DEVICE = ("active", "block", "filename", "size", "threads_num", "type")
LEAN_TARGET = ("comment", "enabled", "rel_tgt_id", "tid")
LEAN_SESSION = (
    *("commands", "initiator_name", "none_cmd_count", "read_cmd_count", "read_io_count_kb"),
    *("sid", "write_cmd_count", "write_io_count_kb"),
)
LEAN_SESSION_LUN = ("active_commands",)
