// What ends the process when an exception leaves a thread of libtorch: memory that ended gets a message and exit code
// 23; any other exception aborts as before.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

namespace {

constexpr int OUT_OF_MEMORY = 23;
constexpr char MESSAGE[] = "error[ST5005]: out of memory: libtorch could not get the memory that it needs; saved files are intact\n";
std::terminate_handler before;

bool is_about_memory(const std::exception_ptr &error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::bad_alloc &) {
    return true;
  } catch (const std::exception &other) {
    const char *text = other.what();
    return std::strstr(text, "can't allocate memory") || std::strstr(text, "not enough memory");
  } catch (...) {
    return false;
  }
}

[[noreturn]] void terminate() {
  const auto error = std::current_exception();
  if (error && is_about_memory(error)) {
    if (write(STDERR_FILENO, MESSAGE, sizeof MESSAGE - 1) < 0) {
      // Standard error is closed.
    }
    _exit(OUT_OF_MEMORY);
  }
  before();
  std::abort();
}

}  // namespace

extern "C" void statetune_end_in_words() { before = std::set_terminate(terminate); }
