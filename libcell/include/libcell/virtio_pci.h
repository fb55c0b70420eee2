/* SPDX-License-Identifier: ISC */
/*
 * A virtio device on PCI as its driver sees it: where its parts are and how it is set up.
 * virtio 1.2, sections 2.1 and 4.1.4.
 */
#ifndef LIBCELL_VIRTIO_PCI_H
#define LIBCELL_VIRTIO_PCI_H

/* cfg_type of a capability, section 4.1.4. */
enum {
	CAP_COMMON = 1,
	CAP_NOTIFY = 2,
	CAP_ISR = 3,
	CAP_DEVICE = 4,
	CAPS
};

/* struct virtio_pci_common_cfg, section 4.1.4.3. */
enum {
	C_DEVICE_FEATURE_SELECT = 0,
	C_DEVICE_FEATURE = 4,
	C_DRIVER_FEATURE_SELECT = 8,
	C_DRIVER_FEATURE = 12,
	C_CONFIG_MSIX = 16,
	C_NUM_QUEUES = 18,
	C_STATUS = 20,
	C_QUEUE_SELECT = 22,
	C_QUEUE_SIZE = 24,
	C_QUEUE_MSIX = 26,
	C_QUEUE_ENABLE = 28,
	C_QUEUE_NOTIFY_OFF = 30,
	C_QUEUE_DESC = 32,
	C_QUEUE_DRIVER = 40,
	C_QUEUE_DEVICE = 48,
};
#define NO_VEC 0xffffu /* of C_CONFIG_MSIX and C_QUEUE_MSIX: no interrupt */

/* Device status, section 2.1. */
enum {
	S_ACKNOWLEDGE = 1,
	S_DRIVER = 2,
	S_DRIVER_OK = 4,
	S_FEATURES_OK = 8,
	S_NEEDS_RESET = 64,
};

#endif
