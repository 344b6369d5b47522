// What the headers of newer GCCs ask a newer libstdc++ and glibc for. These stay inside the library, and let it run
// with older ones: a wheel for manylinux_2_28 may ask for libstdc++ 3.4.25 and glibc 2.28 at most.
#include <new>

namespace std {

// Of libstdc++ 3.4.29: where a vector grows too large.
[[noreturn]] void __throw_bad_array_new_length() { throw bad_array_new_length(); }

}  // namespace std

// Of glibc 2.32: whether shared_ptr may count without atomic operations. It must not.
extern "C" char __libc_single_threaded = 0;
