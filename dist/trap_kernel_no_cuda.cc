#include "dist/trap_kernel.h"

namespace lockstep::dist {

void PrepareToLoseDevice() {}
void LoseDevice(Stream stream) {}  // nothing to lose

}  // namespace lockstep::dist
