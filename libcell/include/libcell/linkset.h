/* SPDX-License-Identifier: ISC */
/*
 * Linker sets: objects that register themselves, so that adding a driver or a command is
 * one new file and one line in the build. Each set also has a line in libcell/bare/cell.lds.
 *
 *	static const struct driver e1000 = {...};
 *	LINKSET_ADD(drivers, e1000);
 *
 *	LINKSET_DECLARE(drivers, struct driver);
 *	LINKSET_FOREACH(drivers, d)
 *		if ((*d)->probe(...)) ...
 */
#ifndef LIBCELL_LINKSET_H
#define LIBCELL_LINKSET_H

#define LINKSET_ADD(set, object)                                        \
	static const __typeof__(object) *const linkset_##set##_##object \
	    __attribute__((used, retain, section("set_" #set))) = &(object)

#define LINKSET_DECLARE(set, type)                                                          \
	extern type const *const __start_set_##set[]                                        \
	    __attribute__((weak, visibility("hidden")));                                    \
	extern type const *const __stop_set_##set[] __attribute__((weak, visibility("hidde" \
										    "n")))

#define LINKSET_FOREACH(set, p) \
	for (__typeof__(&__start_set_##set[0]) p = __start_set_##set; p < __stop_set_##set; p++)

#endif
