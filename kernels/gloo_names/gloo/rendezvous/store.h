#include "../../names.h"
