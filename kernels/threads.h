// How many threads compute.
#pragma once

// Takes over a number of threads that was allowed since the last call. Products call it before they begin.
void follow_allowed_threads();

// The cores of the machine, those that this process may not use included.
int cores_of_machine();
