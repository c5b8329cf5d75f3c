/* scripts.h - what the state asks the command table when a script calls a command. */
#pragma once
#include "store/script.h"

extern const struct script_host scripts_host;
