// What an op needs beside its arguments: where work is queued and where memory comes from.
#pragma once

#include "tensor/allocator.h"
#include "tensor/device.h"

namespace lockstep {

struct Context {
  Stream stream;
  Allocator* allocator = nullptr;

  Device device() const { return stream.device; }
};

}  // namespace lockstep
