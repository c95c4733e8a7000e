#include <nvtx3/nvToolsExt.h>

#include "tensor/profile/nvtx.h"

namespace lockstep::profile {

void PushNvtx(const char* name) { nvtxRangePushA(name); }
void PopNvtx() { nvtxRangePop(); }

}  // namespace lockstep::profile
