// Programming errors: CHECK, CHECK_EQ, LOG(FATAL) … of glog, fatal on the spot (see status.h).
#pragma once

#include <glog/logging.h>  // IWYU pragma: export
