// SIGINT and SIGTERM of a rank that has no parent of ours: requests to stop.
//
// No handler runs. It would use the stack of the thread that it interrupts, and machine code that
// oneDNN generates keeps addresses of its own data in the stack's register: the handler's frame
// would be written over them. All threads block the signals, and one of its own waits for them.
#pragma once

namespace lockstep::dist {

// To be called before this process has other threads, which inherit what is blocked. Until
// KeepStopSignals a signal ends the process, as if nobody had called this.
void BlockStopSignals();

// From now on the first signal is kept, and the second ends the process with 128 + its number.
void KeepStopSignals();

int KeptStopSignal();  // 0: none

}  // namespace lockstep::dist
