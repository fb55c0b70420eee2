#include "cells/linux/inc/gen.h"
void proc_net_text(struct text *t, const char *what)
{
}
