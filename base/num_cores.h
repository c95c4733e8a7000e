#pragma once

namespace lockstep {

// Cores that this process may use: those of its affinity mask.
int NumCores();

}  // namespace lockstep
