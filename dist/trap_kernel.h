// A lost GPU, for tests.
#pragma once

#include "tensor/device.h"

namespace lockstep::dist {

// Loads what LoseDevice needs, which waits for all that runs.
void PrepareToLoseDevice();

// From when the stream comes to it, every call to the device fails in this process.
void LoseDevice(Stream stream);

}  // namespace lockstep::dist
