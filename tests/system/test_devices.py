# SPDX-License-Identifier: ISC
"""Granted devices: interrupts of every kind, DMA inside the cell and outside, revocation."""

import pytest

READY = r"^d0: ready: "
EDU = "edu,dma_mask=0xffffffffffffffff"
IOMMU = ["-device", "intel-iommu,intremap=on"]


def conf(pair, pci, args, restart="never"):
    return (pair + f"cell dev image=devtest heap=64K channels=24 priority=4 restart={restart}\n"
            f"device dev pci={pci}\nargs dev {args}\n")


@pytest.fixture
def devtest(boot, archive, pair):
    """devtest(pci, args, qemu arguments...): a machine with the heartbeat pair and a cell
    that owns the device."""
    def start(pci, args, *extra, restart="never", **kwargs):
        m = boot(archive(conf(pair, pci, args, restart), ["heartbeat", "devtest"]),
                 extra=list(extra), **kwargs)
        return m
    return start


def beats_on(m):
    """The others did not notice."""
    for _ in range(2):
        m.expect(r"^beat-b: heartbeat \d+", timeout=30)


@pytest.mark.parametrize("iommu", [False, True], ids=["bare", "iommu"])
@pytest.mark.parametrize("smp", [1, 2])
def test_msi_and_dma(devtest, iommu, smp):
    m = devtest("1234:11e8", "test=edu", *(IOMMU if iommu else []), "-device", EDU, smp=smp)
    m.expect(r"^d0: iommu: VT-d, 1 units, DMA confined, interrupts remapped" if iommu else
             r"^d0: iommu: WARNING.* can reach ALL memory", timeout=60)
    m.expect(rf"^dev: device 1234:11e8 irq MSI x1, iommu {int(iommu)}, config 1234:11e8", timeout=60)
    m.expect(r"^dev: bar 0 size 0x100000 ")
    m.expect(r"^dev: edu id 10000ed flip edcba987")
    m.expect(r"^dev: edu interrupt came")
    m.expect(r"^dev: edu dma good")
    m.expect(r"^dev: done")
    beats_on(m)


# 0x200000 holds the nucleus in physical memory and nothing in the cell's.
@pytest.mark.parametrize("test, what", [("dma-read", "read"), ("dma-write", "write")])
def test_dma_outside_ends_the_cell(devtest, test, what):
    m = devtest("1234:11e8", f"test={test} target=0x200000", *IOMMU, "-device", EDU)
    m.expect(r"^dev: dma outside at 0x200000", timeout=60)
    m.expect(rf"^d0: .*cell dev failed: DMA outside at 0x200000 \({what} by its device 00:0\d\.0",
             absent="survived")
    beats_on(m)


def test_dma_to_its_own_info_page(devtest):
    m = devtest("1234:11e8", "test=dma-info", *IOMMU, "-device", EDU)
    at = m.expect(r"^dev: dma to the info page at (0x[0-9a-f]+)", timeout=60).group(1)
    m.expect(rf"^d0: .*cell dev failed: DMA outside at {at} \(write", absent="survived")
    beats_on(m)


def test_device_without_owner_masters_no_bus(boot, archive, pair):
    """Nobody was given the device; whatever the firmware left on, it cannot start DMA."""
    m = boot(archive(pair, ["heartbeat"]), extra=[*IOMMU, "-device", EDU + ",addr=5"])
    m.expect(READY, timeout=60)
    # The command register, through q35's ECAM.
    text = m.qmp("human-monitor-command", **{"command-line": "xp /2hx 0xb0028000"})
    assert "0x1234 0x11e8" in text, text
    text = m.qmp("human-monitor-command", **{"command-line": "xp /1hx 0xb0028004"})
    command = int(text.split(":")[1], 16)
    assert command & 0x404 == 0x400, text  # bus mastering off, INTx disabled
    beats_on(m)


@pytest.mark.parametrize("iommu", [False, True], ids=["bare", "iommu"])
def test_restart_gets_the_device_again(devtest, iommu):
    m = devtest("1234:11e8", "test=edu crash", *(IOMMU if iommu else []), "-device", EDU,
                restart="on-failure")
    for start in (1, 2, 3):
        m.expect(rf"^dev: start {start} test edu", timeout=60)
        m.expect(r"^dev: edu interrupt came")
        m.expect(r"^dev: edu dma good")
    beats_on(m)


@pytest.mark.parametrize("iommu", [False, True], ids=["bare", "iommu"])
def test_intx(devtest, iommu):
    m = devtest("8086:100e", "test=intx", *(IOMMU if iommu else []), "-device", "e1000", smp=2)
    m.expect(r"^dev: device 8086:100e irq INTx x1", timeout=60)
    for i in range(3):
        m.expect(rf"^dev: intx {i} came")
    m.expect(r"^dev: intx unserved came")
    m.expect(r"^dev: intx again quiet")
    beats_on(m)


@pytest.mark.parametrize("iommu", [False, True], ids=["bare", "iommu"])
def test_msix(devtest, iommu):
    m = devtest("8086:10d3", "test=msix", *(IOMMU if iommu else []), "-device", "e1000e", smp=2)
    m.expect(r"^dev: device 8086:10d3 irq MSI-X x5", timeout=60)
    for v in (0, 1):
        m.expect(rf"^dev: msix {v} came")
        m.expect(rf"^dev: msix {1 - v} quiet")
    beats_on(m)


def test_msix_table_is_not_the_cells(devtest):
    m = devtest("8086:10d3", "test=msix-table", "-device", "e1000e")
    m.expect(r"^dev: msix entry 0 reads 0xfee00000", timeout=60)
    m.expect(r"^d0: .*cell dev failed: write to memory it may not write at 0x[0-9a-f]+ \(bar3\)",
             absent="survived")
    beats_on(m)


def test_two_cells_one_device(boot, archive, pair):
    """The second to ask does not get it, and is told so; the first keeps it."""
    text = conf(pair, "1234:11e8", "test=edu") + (
        "cell thief image=devtest heap=64K channels=24\ndevice thief pci=1234:11e8\n")
    m = boot(archive(text, ["heartbeat", "devtest"]), extra=["-device", EDU])
    m.expect(r"^d0: .*(can't give the device|thief.*(start failed|error 6))", timeout=60)
