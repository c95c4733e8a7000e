// Options and suppressions of the sanitizers, for every test and binary that is built with
// --config=asan or --config=tsan. Compiled in, so that they hold for the ranks too that a process
// starts, whatever folder and environment these have.

extern "C" const char* __asan_default_options();
extern "C" const char* __ubsan_default_options();
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_suppressions();

const char* __asan_default_options() {
  return "detect_leaks=1:abort_on_error=1:detect_stack_use_after_return=1:strict_string_checks=1";
}

const char* __ubsan_default_options() { return "print_stacktrace=1"; }

const char* __tsan_default_options() { return "halt_on_error=1:second_deadlock_stack=1"; }

// Debian's libraries are not instrumented: ThreadSanitizer sees their memory accesses through
// memcpy and read, but not the atomics and futexes that order them.
const char* __tsan_default_suppressions() {
  return "race:libunwind.so\n"  // its cache, when exceptions of several threads are unwound
         "race:libgloo.so\n"    // its locks are seen, so not called_from_lib
         "called_from_lib:libgomp.so.1\n"
         "called_from_lib:libdnnl.so.2\n"
         // An exception that Gloo hands to another thread: libstdc++ counts its owners by atomics.
         "race:std::runtime_error::~runtime_error\n"
         "race:std::__exception_ptr::exception_ptr::_M_release\n";
}
