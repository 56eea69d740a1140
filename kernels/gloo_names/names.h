// The names of gloo that libtorch's `ProcessGroupGloo.hpp` uses. libtorch contains gloo and ships no headers of it; the files
// of this folder stand in for them. Only declarations: a call goes through libtorch.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace gloo {

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};

namespace transport {

class Device;

struct UnboundBuffer {
  virtual ~UnboundBuffer() = default;
};

}  // namespace transport

namespace rendezvous {

// The functions stand in the order of gloo's, which is the order of the table of virtual functions.
struct Store {
  virtual ~Store();
  virtual void set(const std::string &key, const std::vector<char> &data) = 0;
  virtual std::vector<char> get(const std::string &key) = 0;
  virtual void wait(const std::vector<std::string> &keys) = 0;
  virtual void wait(const std::vector<std::string> &keys, const std::chrono::milliseconds &timeout) = 0;
};

}  // namespace rendezvous
}  // namespace gloo
