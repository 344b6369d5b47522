// GCC 11 and newer call this function of libstdc++ 3.4.29 where a vector grows too large. Ours, which stays inside the
// library, lets the libraries run with older ones: a wheel for manylinux_2_28 may ask for 3.4.25 at most.
#include <new>

namespace std {

[[noreturn]] void __throw_bad_array_new_length() { throw bad_array_new_length(); }

}  // namespace std
