/* SPDX-License-Identifier: ISC */
#include "libcell/control.h"

const char *cell_strerror(int error)
{
	switch (error) {
	case D0_OK:
		return "success";
#define D0_ERR_TEXT(number, name, text) \
	case D0_E##name:                \
		return text;
		D0_ERRORS(D0_ERR_TEXT)
#undef D0_ERR_TEXT
	default:
		return "unknown error";
	}
}
