// NVTX's ranges; nothing happens where no tool listens, or in a build without CUDA.
#pragma once

namespace lockstep::profile {

void PushNvtx(const char* name);
void PopNvtx();

}  // namespace lockstep::profile
