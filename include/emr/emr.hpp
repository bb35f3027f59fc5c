// emr.hpp - libemr for C++17: the C interface with owners, spans, errors that carry their sentence, and
// callbacks that are lambdas. A header alone: it calls what emr.h declares; nothing more is linked.
//
//     emr::pool pool = emr::pool::create();
//     emr::bundle bundle = emr::bundle::open_file("tasks.emr");
//     emr::model base = emr::checkpoint_open("base.safetensors");
//     emr::session_options options;
//     options.resources.executor = pool.executor();
//     options.mask_bytes = 512 << 20;
//     emr::session session = emr::session::create(bundle, base, options);
//
//     const std::uint32_t french = bundle.find_task("french"), german = bundle.find_task("german");
//     session.apply(french, {{"layers.0.weight", layer0}, {"head.weight", head}}); // act as one task
//     session.multiply({french, german}, {"layers.1.weight", rows, x, y});         // or mix them in a batch
//
// What a call does and what it may fail with is said in the C headers; here is what C++ adds.
// examples/engine.cpp is a whole engine.
//
// - Names. emr_x_create(&x, ...) and emr_x_open(&x, ...) are x::create(...) and x::open(...); emr_x_y(x, ...)
//   is x.y(...); every other function and struct has `emr_` taken off. Numbers (emr_status, emr_dtype,
//   EMR_DTYPE_F32, EMR_BASE) are C's.
// - Owners. What has a destroy function is a class that is moved, never copied, and destroys. get() lends the
//   C handle, release() hands it over, and a constructor takes one. One that was moved from is empty: it may
//   be destroyed and assigned to. Whatever must outlive a handle in C must outlive the object here: declare
//   it first. Parameters of type borrowed<x> are such, and take no temporary.
// - Structs are the C structs under their names, with the size set and all else zero: every member of C's is
//   one of theirs. Where C's options point to others (resources, policy, modulation), these are members
//   themselves. What an option struct points to otherwise is borrowed as C says. What the library fills is
//   returned by value.
// - Errors. With exceptions, a call that fails throws emr::error, a std::runtime_error. Without
//   (-fno-exceptions, or EMR_NO_EXCEPTIONS defined), it returns a result<T>, which has a value or a failure.
//   Every call is written once and declared to return returns<T>, which is T in the first case and result<T>
//   in the second. So objects come from functions, since no constructor can return a result. attempt(f) gives
//   a result in either case, for the places where a failure is expected, and for code that is compiled both
//   ways. How a part of a program was compiled is in its inline namespace: parts that disagree do not link,
//   rather than crash.
// - Callbacks are objects or lambdas of the host, borrowed, never copied: they are passed as lvalues, and
//   live as long as C's `user` must. They may throw: no exception crosses the library. It ends the call
//   there, which then fails with the exception's words at the end of its sentence, and with the status of an
//   emr::error, EMR_ENOMEM for std::bad_alloc, and else what C has for that callback. A function that is
//   given to one call (weights_writer, and the last parameter of check_base and checkpoint_write) is better
//   off: that call throws the very exception. Without exceptions they return an emr_status or a result<void>.
//   What C gives no way to fail (executor, wait, allocators' free) must not throw: std::terminate.
// - Threads are as in C: calls of const objects are concurrent on the same objects; others need theirs alone.
// - Nothing is allocated here, but for an exception, and where model::create_keeping says so.
#ifndef EMR_EMR_HPP
#define EMR_EMR_HPP

#include "emr/emr.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_span
#include <span>
#endif

// Whether callbacks may throw, which the compiler says; and whether calls do, which the host may have
// otherwise.
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define EMR_HPP_CATCHES 1
#else
#define EMR_HPP_CATCHES 0
#endif
#if EMR_HPP_CATCHES && !defined(EMR_NO_EXCEPTIONS)
#define EMR_HPP_THROWS    1
#define EMR_HPP_NAMESPACE throwing
#else
#define EMR_HPP_THROWS 0
#if EMR_HPP_CATCHES
#define EMR_HPP_NAMESPACE returning
#else
#define EMR_HPP_NAMESPACE without_exceptions
#endif
#endif

namespace emr
{
inline namespace EMR_HPP_NAMESPACE
{

// -----------------------------------------------------------------------------------------------------------
// Text and ranges
// -----------------------------------------------------------------------------------------------------------

// A string_view whose text ends in a zero byte, as C's does: what the library calls things, and the type of
// parameters that are names or paths.
class zstring_view : public std::string_view
{
  public:
    constexpr zstring_view(const char *text) : std::string_view(text) {}
    zstring_view(const std::string &text) : std::string_view(text) {}
    constexpr const char *c_str() const noexcept { return data(); }
};

namespace detail
{
template <class C> using pointer_of = decltype(std::data(std::declval<C &>()));
template <class C> using element_of = std::remove_pointer_t<pointer_of<C>>;

// A range of Ts (or, of const Ts, of Ts that are not const) that lies in memory one after another.
template <class C, class T, class = void> struct is_range_of : std::false_type {
};
template <class C, class T>
struct is_range_of<C, T, std::void_t<pointer_of<C>, decltype(std::size(std::declval<C &>()))>>
    : std::is_convertible<element_of<C> (*)[], T (*)[]> {
};
} // namespace detail

// Some Ts that lie one after another, belonging to somebody else: from a pointer and a number, an array, a
// std::vector, std::array or std::span, or any other object with data() and size(). It may be kept, so it
// takes no temporary of those.
template <class T> class span
{
  public:
    using element_type = T;
    using value_type = std::remove_cv_t<T>;

    constexpr span() noexcept = default;
    constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <class C, class = std::enable_if_t<detail::is_range_of<C, T>::value &&
                                                !std::is_same<std::remove_cv_t<C>, span>::value>>
    constexpr span(C &range) : data_(std::data(range)), size_(std::size(range))
    {
    }
    template <class U, class = std::enable_if_t<std::is_convertible<U (*)[], T (*)[]>::value>>
    constexpr span(span<U> other) noexcept : data_(other.data()), size_(other.size())
    {
    }
#ifdef __cpp_lib_span
    template <class U, std::size_t N, class = std::enable_if_t<std::is_convertible<U (*)[], T (*)[]>::value>>
    constexpr span(std::span<U, N> range) noexcept : data_(range.data()), size_(range.size())
    {
    }
#endif

    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    // Not checked.
    constexpr T &operator[](std::size_t i) const noexcept { return data_[i]; }

  private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

// The type of parameters that are read during the call alone: a span<const T> that is also made of
// temporaries, and of values in braces.
template <class T> class list : public span<const T>
{
  public:
    constexpr list() noexcept = default;
    constexpr list(const T *data, std::size_t size) noexcept : span<const T>(data, size) {}
    constexpr list(std::initializer_list<T> values) noexcept : list(values.begin(), values.size()) {}
    template <class C, class = std::enable_if_t<detail::is_range_of<const C, const T>::value>>
    constexpr list(const C &range) : span<const T>(std::data(range), std::size(range))
    {
    }
};

// -----------------------------------------------------------------------------------------------------------
// Structs that are C's
// -----------------------------------------------------------------------------------------------------------

namespace detail
{
// Whether a C that is passed as C && outlives the statement: it has a name, or only points to elements.
template <class C> struct is_kept : std::is_lvalue_reference<C> {
};
template <class T> struct is_kept<span<T>> : std::true_type {
};
template <class T> struct is_kept<const span<T>> : std::true_type {
};
#ifdef __cpp_lib_span
template <class T, std::size_t N> struct is_kept<std::span<T, N>> : std::true_type {
};
template <class T, std::size_t N> struct is_kept<const std::span<T, N>> : std::true_type {
};
#endif

// A C struct that begins with its size.
template <class C> struct sized : C {
    sized() noexcept : C() { this->size = sizeof(C); }
};
} // namespace detail

// Filled by the library, or handed to callbacks.
using progress = emr_progress;
using computation = emr_computation;
using base_difference = emr_base_difference;
using weights_part = emr_weights_part;
using sink_part = emr_sink_part;
using features = detail::sized<emr_features>;
using bundle_info = detail::sized<emr_bundle_info>;
using task_info = detail::sized<emr_task_info>;
using tensor_info = detail::sized<emr_tensor_info>;
using private_info = detail::sized<emr_private_info>;
using drop_report = detail::sized<emr_drop_report>;
using fidelity = detail::sized<emr_fidelity>;
using modulator_stats = detail::sized<emr_modulator_stats>;
using plan_summary = detail::sized<emr_plan_summary>;
using plan_tensor = detail::sized<emr_plan_tensor>;
using task_report = detail::sized<emr_task_report>;
using session_info = detail::sized<emr_session_info>;
using statistics_plan = detail::sized<emr_statistics_plan>;
using statistics_group = detail::sized<emr_statistics_group>;
using task_moments = detail::sized<emr_task_moments>;
using search_candidate = detail::sized<emr_search_candidate>;
using search_result = detail::sized<emr_search_result>;
using trial = detail::sized<emr_trial>;
using tensor_role = detail::sized<emr_tensor_role>;
using combined_tensor = detail::sized<emr_combined_tensor>;
using combination_plan = detail::sized<emr_combination_plan>;
using head_group = detail::sized<emr_head_group>;
using method_tensor = emr_method_tensor;
using method_chunk = emr_method_chunk;

// Filled by the host.
using rename = emr_rename;
using method_parameter = emr_method_parameter;
using method_stage = detail::sized<emr_method_stage>;
using method = detail::sized<emr_method>;
using file_options = detail::sized<emr_file_options>;
using source = detail::sized<emr_source>;
using pool_options = detail::sized<emr_pool_options>;
using checkpoint_read_options = detail::sized<emr_checkpoint_read_options>;
using agree_options = detail::sized<emr_agree_options>;
using bundle_options = detail::sized<emr_bundle_options>;
using kinship_options = detail::sized<emr_kinship_options>;
using search_options = detail::sized<emr_search_options>;
using modulation_spec = detail::sized<emr_modulation_spec>;
using modulation = detail::sized<emr_modulation>;

// The shape of whatever has a `shape` and a `rank`: tensor_info, private_info, plan_tensor, tensor_desc.
template <class T> span<const std::uint64_t> shape_of(const T &described) noexcept
{
    return {described.shape, described.rank};
}

// The dtype of the elements of a range: of float, double, bool and the integers. BF16, F16 and 8-bit floats,
// for which C++ has no types, are named by hand.
template <class T>
constexpr emr_dtype dtype_of = std::is_same<T, float>::value           ? EMR_DTYPE_F32
                               : std::is_same<T, double>::value        ? EMR_DTYPE_F64
                               : std::is_same<T, bool>::value          ? EMR_DTYPE_BOOL
                               : std::is_same<T, std::uint8_t>::value  ? EMR_DTYPE_U8
                               : std::is_same<T, std::int8_t>::value   ? EMR_DTYPE_I8
                               : std::is_same<T, std::uint16_t>::value ? EMR_DTYPE_U16
                               : std::is_same<T, std::int16_t>::value  ? EMR_DTYPE_I16
                               : std::is_same<T, std::uint32_t>::value ? EMR_DTYPE_U32
                               : std::is_same<T, std::int32_t>::value  ? EMR_DTYPE_I32
                               : std::is_same<T, std::uint64_t>::value ? EMR_DTYPE_U64
                               : std::is_same<T, std::int64_t>::value  ? EMR_DTYPE_I64
                                                                       : EMR_DTYPE_NONE;

namespace detail
{
// Whether a range can be written to, is kept, and has elements of a dtype: EMR_DTYPE_NONE would be C's default.
template <class C, class T = element_of<C>>
constexpr bool is_output = is_range_of<C, T>::value && !std::is_const<T>::value && is_kept<C>::value &&
                           dtype_of<T> != EMR_DTYPE_NONE;
} // namespace detail

// -----------------------------------------------------------------------------------------------------------
// Failures
// -----------------------------------------------------------------------------------------------------------

// Why something failed. A plain value of 512 bytes that allocates nothing.
class failure
{
  public:
    explicit failure(const emr_error &c) noexcept : c_(c) {}

    // For callbacks, as emr_error_set: `file` may be null, `system` is errno or the like.
    explicit failure(emr_status status, const char *reason = nullptr, const char *file = nullptr,
                     std::int32_t system = 0) noexcept
    {
        emr_error_set(&c_, status, system, file, reason ? reason : emr_status_text(status));
    }

    emr_status status() const noexcept { return c_.status; }
    // errno, or 0 where it is not the system's fault.
    std::int32_t system() const noexcept { return c_.system; }
    // The sentence.
    const char *text() const noexcept { return c_.text; }
    // What it names, as it stands in text(): empty where it names none. They last as long as this object.
    std::string_view file() const noexcept { return part_of(c_.file); }
    std::string_view task() const noexcept { return part_of(c_.task); }
    std::string_view tensor() const noexcept { return part_of(c_.tensor); }
    const emr_error &get() const noexcept { return c_; }

  private:
    std::string_view part_of(const emr_error_span &part) const noexcept
    {
        return {c_.text + part.offset, part.length};
    }

    emr_error c_;
};

// A failure as it is thrown; what() is the sentence. Callbacks may throw it, too.
class error : public std::runtime_error, public failure
{
  public:
    explicit error(const failure &why) : std::runtime_error(""), failure(why) {}
    explicit error(emr_status status, const char *reason = nullptr, const char *file = nullptr,
                   std::int32_t system = 0)
        : error(failure(status, reason, file, system))
    {
    }
    const char *what() const noexcept override { return text(); }
};

// A value, or why there is none. Asked for a value that it does not have, value() throws emr::error, or ends
// the program (std::abort) without exceptions; *r and r-> must not be asked.
template <class T> class [[nodiscard]] result
{
  public:
    using value_type = T;

    result(T value) : is_(std::in_place_index<0>, std::move(value)) {}
    result(const failure &why) noexcept : is_(std::in_place_index<1>, why) {}

    bool has_value() const noexcept { return is_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }
    T &operator*() &noexcept { return *std::get_if<0>(&is_); }
    const T &operator*() const &noexcept { return *std::get_if<0>(&is_); }
    T &&operator*() &&noexcept { return std::move(*std::get_if<0>(&is_)); }
    T *operator->() noexcept { return std::get_if<0>(&is_); }
    const T *operator->() const noexcept { return std::get_if<0>(&is_); }
    T &value() &
    {
        expect_value();
        return **this;
    }
    const T &value() const &
    {
        expect_value();
        return **this;
    }
    T &&value() &&
    {
        expect_value();
        return *std::move(*this);
    }
    // Of one without a value.
    const failure &error() const noexcept { return *std::get_if<1>(&is_); }
    // EMR_OK with a value, else the failure's.
    emr_status status() const noexcept { return has_value() ? EMR_OK : error().status(); }

  private:
    void expect_value() const;

    std::variant<T, failure> is_;
};

template <> class [[nodiscard]] result<void>
{
  public:
    using value_type = void;

    result() noexcept = default;
    result(const failure &why) noexcept : why_(why) {}
    bool has_value() const noexcept { return !why_; }
    explicit operator bool() const noexcept { return has_value(); }
    void value() const;
    const failure &error() const noexcept { return *why_; }
    emr_status status() const noexcept { return why_ ? why_->status() : EMR_OK; }

  private:
    std::optional<failure> why_;
};

namespace detail
{
[[noreturn]] inline void raise(const failure &why)
{
#if EMR_HPP_CATCHES
    throw error(why);
#else
    (void)why;
    std::abort();
#endif
}

template <class T> struct is_result : std::false_type {
};
template <class T> struct is_result<result<T>> : std::true_type {
};
} // namespace detail

template <class T> void result<T>::expect_value() const
{
    if (!has_value())
        detail::raise(error());
}
inline void result<void>::value() const
{
    if (why_)
        detail::raise(*why_);
}

// What a call returns that may fail: a T, or the failure is thrown; without exceptions, a result<T>.
#if EMR_HPP_THROWS
template <class T> using returns = T;
#else
template <class T> using returns = result<T>;
#endif

// Calls f() and gives what it returns, or the failure that it returns or throws as emr::error, as a result.
// Other exceptions pass.
template <class F> auto attempt(F &&f)
{
    using R = std::invoke_result_t<F>;
    if constexpr (detail::is_result<R>::value) {
        return std::forward<F>(f)();
    } else {
#if EMR_HPP_CATCHES
        try {
#endif
            if constexpr (std::is_void<R>::value) {
                std::forward<F>(f)();
                return result<void>();
            } else {
                return result<R>(std::forward<F>(f)());
            }
#if EMR_HPP_CATCHES
        } catch (const error &e) {
            return result<R>(static_cast<const failure &>(e));
        }
#endif
    }
}

namespace detail
{
// The end of every call.
inline returns<void> finish(emr_status status, const emr_error &why)
{
#if EMR_HPP_THROWS
    if (status != EMR_OK)
        raise(failure(why));
#else
    return status == EMR_OK ? result<void>() : result<void>(failure(why));
#endif
}

// Of one that has no sentence to give.
inline returns<void> finish(emr_status status)
{
#if EMR_HPP_THROWS
    if (status != EMR_OK)
        raise(failure(status));
#else
    return status == EMR_OK ? result<void>() : result<void>(failure(status));
#endif
}

// And of one with a value.
template <class T, class... Why> returns<T> finish_with(T &&value, emr_status status, const Why &...why)
{
#if EMR_HPP_THROWS
    finish(status, why...);
    return std::forward<T>(value);
#else
    result<void> done = finish(status, why...);
    return done ? result<T>(std::forward<T>(value)) : result<T>(done.error());
#endif
}

// A call of f(&error).
template <class F> returns<void> done(F &&f)
{
    emr_error why;
    emr_status failed = f(&why);
    return finish(failed, why);
}

// A value that f(&value) fills.
template <class T, class F> returns<T> told(F &&f)
{
    T value = T();
    emr_status failed = f(&value);
    return finish_with(std::move(value), failed);
}

// A value that f(&value, &error) fills.
template <class T, class F> returns<T> filled(F &&f)
{
    T value = T();
    emr_error why;
    emr_status failed = f(&value, &why);
    return finish_with(std::move(value), failed, why);
}

// A handle that f(&handle, &error) makes.
template <class T, class F> returns<T> made(F &&f)
{
    typename T::c_type *c = nullptr;
    emr_error why;
    emr_status failed = f(&c, &why);
    return finish_with(T(c), failed, why);
}

// Owns a handle.
template <class C, void (*destroy)(C **)> class handle
{
  public:
    using c_type = C;

    handle() noexcept = default;
    // Takes it over.
    explicit handle(C *c) noexcept : c_(c) {}
    handle(handle &&other) noexcept : c_(other.release()) {}
    handle &operator=(handle &&other) noexcept
    {
        if (this != &other) {
            destroy(&c_);
            c_ = other.release();
        }
        return *this;
    }
    ~handle() { destroy(&c_); }

    C *get() const noexcept { return c_; }
    // Hands it over to the caller, who destroys it.
    [[nodiscard]] C *release() noexcept { return std::exchange(c_, nullptr); }
    // Destroys it now.
    void reset() noexcept { destroy(&c_); }
    explicit operator bool() const noexcept { return c_ != nullptr; }

  private:
    C *c_ = nullptr;
};
} // namespace detail

// A parameter that is not only read during the call: what is made here uses it until it is destroyed (or,
// where the C header says so, longer than the call). So no temporary will do. C's handles are taken, too, and
// nullptr where the C call takes NULL.
template <class T> class borrowed
{
  public:
    borrowed(const T &object) noexcept : c_(object.get()) {}
    borrowed(const T &&) = delete;
    borrowed(const typename T::c_type *c) noexcept : c_(c) {}
    const typename T::c_type *get() const noexcept { return c_; }

  private:
    const typename T::c_type *c_;
};

// -----------------------------------------------------------------------------------------------------------
// Callbacks
// -----------------------------------------------------------------------------------------------------------

namespace detail
{
// What a callback returned, as C has it: nothing is success, false is the wish to stop.
inline emr_status settle(emr_status status, emr_error *) { return status; }
inline emr_status settle(bool go_on, emr_error *) { return go_on ? EMR_OK : EMR_ECANCELED; }
template <class E, class = std::enable_if_t<std::is_enum<E>::value>> emr_status settle(E status, emr_error *)
{
    return static_cast<emr_status>(status); // EMR_EIO by itself
}
inline emr_status settle(const result<void> &result, emr_error *why)
{
    if (!result)
        *why = result.error().get();
    return result.status();
}

template <class F, class... A> emr_status call_and_settle(emr_error *why, F &f, A &&...arguments)
{
    using R = std::invoke_result_t<F &, A...>;
    if constexpr (std::is_void<R>::value) {
        f(std::forward<A>(arguments)...);
        return EMR_OK;
    } else {
        static_assert(std::is_same<R, bool>::value || std::is_same<R, emr_status>::value ||
                          std::is_enum<R>::value || std::is_same<R, result<void>>::value,
                      "a callback returns nothing, an emr_status, a result<void>, or whether to go on");
        return settle(f(std::forward<A>(arguments)...), why);
    }
}

// Calls f(arguments...) for the library: no exception passes; the current one becomes a status and words in
// `why`.
template <class F, class... A> emr_status call_host(emr_error *why, F &&f, A &&...arguments) noexcept
{
#if EMR_HPP_CATCHES
    try {
        return call_and_settle(why, f, std::forward<A>(arguments)...);
    } catch (const error &e) {
        *why = e.get();
        return e.status() == EMR_OK ? EMR_EIO : e.status();
    } catch (const std::bad_alloc &) {
        return emr_error_set(why, EMR_ENOMEM, 0, nullptr, emr_status_text(EMR_ENOMEM));
    } catch (const std::exception &e) {
        return emr_error_set(why, EMR_EIO, 0, nullptr, e.what());
    } catch (...) {
        return emr_error_set(why, EMR_EIO, 0, nullptr, "the host threw an exception");
    }
#else
    return call_and_settle(why, f, std::forward<A>(arguments)...);
#endif
}

// Keeps the exception that a function of one call throws, until that call is over.
class kept_exception
{
  public:
    template <class F, class... A> emr_status call(emr_error *why, F &f, A &&...arguments) noexcept
    {
#if EMR_HPP_CATCHES && EMR_HPP_THROWS
        return call_host(why, [&] {
            try {
                return call_and_settle(why, f, std::forward<A>(arguments)...);
            } catch (...) {
                kept_ = std::current_exception();
                throw;
            }
        });
#else
        return call_host(why, f, std::forward<A>(arguments)...);
#endif
    }
    void rethrow()
    {
#if EMR_HPP_CATCHES && EMR_HPP_THROWS
        if (kept_)
            std::rethrow_exception(std::exchange(kept_, nullptr));
#endif
    }

  private:
#if EMR_HPP_CATCHES && EMR_HPP_THROWS
    std::exception_ptr kept_;
#endif
};

// A function of one call that C gives no way to fail: after it failed once it is not called again.
template <class F> class reporter
{
  public:
    explicit reporter(F &f) noexcept : f_(f) {}
    template <class... A> void operator()(A &&...arguments) noexcept
    {
        if (status_ == EMR_OK)
            status_ = kept_.call(&why_, f_, std::forward<A>(arguments)...);
    }
    // What failed first: the function, or the call.
    returns<void> finish(emr_status status, const emr_error &why)
    {
        kept_.rethrow();
        return status_ == EMR_OK ? detail::finish(status, why) : detail::finish(status_, named());
    }

  private:
    // A status alone comes without words.
    const emr_error &named()
    {
        if (!why_.text[0])
            emr_error_set(&why_, status_, 0, nullptr, emr_status_text(status_));
        return why_;
    }

    F &f_;
    kept_exception kept_;
    emr_error why_ = emr_error();
    emr_status status_ = EMR_OK;
};

template <class F> void *address_of(F &f) noexcept
{
    static_assert(std::is_object<F>::value, "an object or a lambda, not a function: put it into a lambda");
    return const_cast<void *>(static_cast<const void *>(std::addressof(f)));
}

// Whether Op<T> is something.
template <template <class> class Op, class T, class = void> struct can_do : std::false_type {
};
template <template <class> class Op, class T> struct can_do<Op, T, std::void_t<Op<T>>> : std::true_type {
};
template <template <class> class Op, class T> constexpr bool can = can_do<Op, T>::value;

template <class T>
using its_allocate =
    decltype(std::declval<T &>().allocate(std::declval<std::size_t>(), std::declval<std::size_t>()));
template <class T>
using its_read = decltype(std::declval<T &>().read(std::uint64_t(), std::declval<span<std::byte>>()));
template <class T>
using its_write = decltype(std::declval<T &>().write(std::uint64_t(), std::declval<span<const std::byte>>()));
template <class T> using its_length = decltype(std::declval<T &>().length());
template <class T> using its_map = decltype(std::declval<T &>().map(std::uint64_t(), std::size_t()));
template <class T>
using its_unmap = decltype(std::declval<T &>().unmap(std::declval<span<const std::byte>>()));
template <class T> using its_sync = decltype(std::declval<T &>().sync());
template <class T>
using its_will_need = decltype(std::declval<T &>().will_need(std::uint64_t(), std::uint64_t()));
template <class T>
using its_unified = decltype(std::declval<T &>().unified(std::declval<const sink_part &>()));
template <class T>
using its_similarity = decltype(std::declval<T &>().similarity(std::uint32_t(), std::uint32_t()));
template <class T> using its_release = decltype(std::declval<T &>().release(std::uint32_t()));
template <class T> using its_mask = decltype(std::declval<T &>().mask(std::declval<const sink_part &>()));
template <class T>
using its_rescalers = decltype(std::declval<T &>().rescalers(std::declval<const sink_part &>()));

// What allocators hand out: a block begins with one that has its length, which C's free does not know.
struct alignas(64) memory_unit {
    unsigned char bytes[64];
};
} // namespace detail

// The host's memory, as emr_allocator: from an object that has
//     void *allocate(std::size_t bytes, std::size_t alignment);
//     void deallocate(void *pointer, std::size_t bytes, std::size_t alignment);
// as std::pmr::memory_resource has, or from an allocator of the standard's kind (std::allocator<int>: it is
// rebound). Either may return nullptr or throw where there is no memory. 64 bytes come on top of each block.
// The object is borrowed until the last handle made with it is destroyed, and must be safe for threads as C
// says.
//
//     std::pmr::monotonic_buffer_resource arena;
//     emr::allocator allocator(arena);
//     emr::bundle_options options;
//     options.allocator = &allocator;
struct allocator : detail::sized<emr_allocator> {
    allocator() noexcept = default;

    template <class R,
              class = std::enable_if_t<!std::is_base_of<emr_allocator, R>::value && !std::is_const<R>::value>>
    explicit allocator(R &resource) noexcept
    {
        user = detail::address_of(resource);
        if constexpr (detail::can<detail::its_allocate, R>) {
            alloc = [](void *given, std::size_t bytes, std::size_t) -> void * {
                return take_from(bytes, [&](std::size_t all) {
                    return static_cast<R *>(given)->allocate(all, alignof(detail::memory_unit));
                });
            };
            free = [](void *given, void *pointer) noexcept {
                auto *unit = static_cast<detail::memory_unit *>(pointer) - 1;
                static_cast<R *>(given)->deallocate(unit, size_of(unit), alignof(detail::memory_unit));
            };
        } else {
            using traits = typename std::allocator_traits<R>::template rebind_traits<detail::memory_unit>;
            using rebound = typename traits::allocator_type;
            alloc = [](void *given, std::size_t bytes, std::size_t) -> void * {
                return take_from(bytes, [&](std::size_t all) -> void * {
                    rebound units(*static_cast<R *>(given));
                    return traits::allocate(units, all / sizeof(detail::memory_unit));
                });
            };
            free = [](void *given, void *pointer) noexcept {
                auto *unit = static_cast<detail::memory_unit *>(pointer) - 1;
                rebound units(*static_cast<R *>(given));
                traits::deallocate(units, unit, size_of(unit) / sizeof(detail::memory_unit));
            };
        }
    }

  private:
    // A block with its size in a unit before it.
    template <class F> static void *take_from(std::size_t bytes, F &&allocate) noexcept
    {
        constexpr std::size_t unit = sizeof(detail::memory_unit);
        if (bytes > SIZE_MAX - 2 * unit)
            return nullptr;
        const std::size_t all = (bytes + unit - 1) / unit * unit + unit;
        void *taken = nullptr;
        emr_error unused;
        detail::call_host(&unused, [&] { taken = allocate(all); });
        if (!taken)
            return nullptr;
        std::memcpy(taken, &all, sizeof all);
        return static_cast<unsigned char *>(taken) + unit;
    }
    static std::size_t size_of(const void *unit) noexcept
    {
        std::size_t all;
        std::memcpy(&all, unit, sizeof all);
        return all;
    }
};

// The work that an executor is given: work(i) is done once for every i below n.
struct work {
    void (*fn)(void *arg, std::size_t i);
    void *arg;
    void operator()(std::size_t i) const { fn(arg, i); }
};

// The host's threads, as emr_executor: from an object or a lambda that is called as
//     f(std::size_t n, const emr::work &work)
// calls work(i) once for every i below n, on any threads, and returns when all are done. It must not throw,
// and is borrowed as C says.
struct executor : detail::sized<emr_executor> {
    executor() noexcept = default;

    template <class F> executor(F &f, std::uint32_t at_a_time) noexcept
    {
        user = detail::address_of(f);
        concurrency = at_a_time;
        parallel_for = [](void *given, std::size_t n, void (*fn)(void *, std::size_t), void *arg) noexcept {
            (*static_cast<F *>(given))(n, work{fn, arg});
        };
    }
};

// Allocator and executor are borrowed until the call returns or, where a handle is made with them, that is
// destroyed.
struct resources : detail::sized<emr_resources> {
    // Calls f(const emr::progress &) every few MiB, on the thread that made the call. It may return whether
    // to go on; it stops the call by false or an exception (EMR_ECANCELED).
    template <class F> void on_progress(F &f) noexcept
    {
        progress_user = detail::address_of(f);
        progress = [](void *given, const emr_progress *now, emr_error *why) noexcept {
            return detail::call_host(why, *static_cast<F *>(given), *now);
        };
    }
    template <class F> void on_progress(const F &&) = delete;
};

namespace detail
{
// Options with resources.
template <class C> struct resourceful : sized<C> {
    emr::resources resources; // hides C's pointer, which linked() sets

  protected:
    void link() noexcept { this->C::resources = &resources; }
};
} // namespace detail

// Positional I/O, as emr_io: from an object that has some of
//     void read(std::uint64_t offset, emr::span<std::byte> destination);
//     std::uint64_t length();
//     void write(std::uint64_t offset, emr::span<const std::byte> source);
//     const void *map(std::uint64_t offset, std::size_t n);          // nullptr: it cannot
//     void unmap(emr::span<const std::byte> window);
//     void sync();
//     void will_need(std::uint64_t offset, std::uint64_t n);
// where those that return nothing may also return what callbacks may (but unmap and will_need), and length()
// a result<std::uint64_t>. It is borrowed until the handle that uses it is destroyed. Members are C's, which
// says more.
struct io : detail::sized<emr_io> {
    io() noexcept = default;

    template <class T, class = std::enable_if_t<!std::is_base_of<emr_io, T>::value>>
    explicit io(T &object) noexcept
    {
        user = detail::address_of(object);
        if constexpr (detail::can<detail::its_read, T>)
            read = [](void *given, std::uint64_t offset, void *destination, std::size_t n,
                      emr_error *why) noexcept {
                return detail::call_host(why, [&] {
                    return static_cast<T *>(given)->read(
                        offset, span<std::byte>(static_cast<std::byte *>(destination), n));
                });
            };
        if constexpr (detail::can<detail::its_write, T>)
            write = [](void *given, std::uint64_t offset, const void *bytes, std::size_t n,
                       emr_error *why) noexcept {
                return detail::call_host(why, [&] {
                    return static_cast<T *>(given)->write(
                        offset, span<const std::byte>(static_cast<const std::byte *>(bytes), n));
                });
            };
        if constexpr (detail::can<detail::its_length, T>)
            length = [](void *given, std::uint64_t *bytes, emr_error *why) noexcept {
                return detail::call_host(
                    why, [&] { return set_length(bytes, static_cast<T *>(given)->length()); });
            };
        if constexpr (detail::can<detail::its_map, T>)
            map = [](void *given, std::uint64_t offset, std::size_t n, const void **window,
                     emr_error *why) noexcept {
                return detail::call_host(why, [&] {
                    *window = static_cast<T *>(given)->map(offset, n);
                    return *window ? EMR_OK : EMR_EIO;
                });
            };
        if constexpr (detail::can<detail::its_unmap, T>)
            unmap = [](void *given, const void *window, std::size_t n) noexcept {
                static_cast<T *>(given)->unmap(
                    span<const std::byte>(static_cast<const std::byte *>(window), n));
            };
        if constexpr (detail::can<detail::its_sync, T>)
            sync = [](void *given, emr_error *why) noexcept {
                return detail::call_host(why, [&] { return static_cast<T *>(given)->sync(); });
            };
        if constexpr (detail::can<detail::its_will_need, T>)
            will_need = [](void *given, std::uint64_t offset, std::uint64_t n) noexcept {
                static_cast<T *>(given)->will_need(offset, n);
            };
    }

  private:
    static result<void> set_length(std::uint64_t *bytes, const result<std::uint64_t> &length)
    {
        *bytes = length ? *length : 0;
        return length ? result<void>() : result<void>(length.error());
    }
    static result<void> set_length(std::uint64_t *bytes, std::uint64_t length)
    {
        *bytes = length;
        return {};
    }
};

// A tensor of a merge's results comes here instead of into a bundle, as emr_sink: from an object that has
// some of
//     void unified(const emr::sink_part &part);
//     void mask(const emr::sink_part &part);
//     void rescalers(const emr::sink_part &part);
// which return what callbacks may. It is borrowed until the merge is destroyed.
struct sink : detail::sized<emr_sink> {
    sink() noexcept = default;

    template <class T, class = std::enable_if_t<!std::is_base_of<emr_sink, T>::value>>
    explicit sink(T &object) noexcept
    {
        user = detail::address_of(object);
        if constexpr (detail::can<detail::its_unified, T>)
            unified = [](void *given, const emr_sink_part *part, emr_error *why) noexcept {
                return detail::call_host(why, [&] { return static_cast<T *>(given)->unified(*part); });
            };
        if constexpr (detail::can<detail::its_mask, T>)
            mask = [](void *given, const emr_sink_part *part, emr_error *why) noexcept {
                return detail::call_host(why, [&] { return static_cast<T *>(given)->mask(*part); });
            };
        if constexpr (detail::can<detail::its_rescalers, T>)
            rescalers = [](void *given, const emr_sink_part *part, emr_error *why) noexcept {
                return detail::call_host(why, [&] { return static_cast<T *>(given)->rescalers(*part); });
            };
    }
};

namespace detail
{
// A weights_writer of any function.
class any_writer
{
  public:
    // As emr_weights.write; `user` is the writer.
    static emr_status write_part(const emr_weights_part *part, emr_error *why) noexcept
    {
        auto *writer = static_cast<any_writer *>(part->user);
        return writer->call_(*writer, *part, why);
    }
    void rethrow() { kept_.rethrow(); }

  protected:
    using call = emr_status (*)(any_writer &writer, const emr_weights_part &part, emr_error *why);
    explicit any_writer(call f) noexcept : call_(f) {}
    kept_exception kept_;

  private:
    call call_;
};
} // namespace detail

// Where weights go that pass through a staging buffer: f(const emr::weights_part &) is called with part after
// part, and may throw whatever it likes, which session::apply then throws. It is used by one call at a time.
//
//     emr::weights_writer upload([&](const emr::weights_part &p) { device.copy(p.first, p.data, p.count); });
//     emr::weights head("head.weight");
//     head.write_to(upload, staging);  // std::vector<float>
//     session.apply(french, {head});
template <class F> class weights_writer : public detail::any_writer
{
  public:
    explicit weights_writer(F f) noexcept(std::is_nothrow_move_constructible<F>::value)
        : any_writer(call_own), f_(std::move(f))
    {
    }
    weights_writer(const weights_writer &) = delete;
    weights_writer &operator=(const weights_writer &) = delete;

  private:
    static emr_status call_own(any_writer &writer, const emr_weights_part &part, emr_error *why)
    {
        auto &self = static_cast<weights_writer &>(writer);
        return self.kept_.call(why, self.f_, part);
    }
    F f_;
};

// -----------------------------------------------------------------------------------------------------------
// What is asked for: structs with ways to fill them
// -----------------------------------------------------------------------------------------------------------

// A tensor by its name, which is borrowed for the call (so no temporary std::string), or by its number.
class which
{
  public:
    which(const char *name) noexcept : name_(name) {}
    which(zstring_view name) noexcept : name_(name.c_str()) {}
    which(const std::string &name) noexcept : name_(name.c_str()) {}
    which(const std::string &&) = delete;
    template <class I, class = std::enable_if_t<std::is_integral<I>::value>>
    which(I number) noexcept
        : tensor_(static_cast<std::uint64_t>(number) < UINT32_MAX ? static_cast<std::uint32_t>(number)
                                                                  : UINT32_MAX)
    {
    }
    template <class S> void put_into(S &asked) const noexcept
    {
        asked.name = name_;
        asked.tensor = tensor_;
    }

  private:
    const char *name_ = nullptr;
    std::uint32_t tensor_ = 0;
};

// Where weights are to go. Constructors set `data` and, of ranges, `count` and `dtype`; as below, a range is no
// temporary, and its elements are of a dtype.
struct weights : detail::sized<emr_weights> {
    weights() noexcept = default;
    explicit weights(which tensor_asked) noexcept { tensor_asked.put_into(*this); }
    template <class C, class T = detail::element_of<C>, class = std::enable_if_t<detail::is_output<C>>>
    weights(which tensor_asked, C &&out) noexcept : weights(tensor_asked)
    {
        count = std::size(out);
        data = count ? std::data(out) : nullptr; // a count of 0 would mean all elements
        dtype = dtype_of<T>;
    }
    weights(which tensor_asked, void *out, emr_dtype as) noexcept : weights(tensor_asked)
    {
        data = out;
        dtype = as;
    }

    // They go through `staging` to a writer, both borrowed for the call.
    template <class F, class C, class = std::enable_if_t<detail::is_output<C>>>
    void write_to(weights_writer<F> &writer, C &&through) noexcept
    {
        data = std::data(through);
        staging = std::size(through);
        dtype = dtype_of<detail::element_of<C>>;
        stage(writer);
    }
    template <class F>
    void write_to(weights_writer<F> &writer, void *through, std::uint64_t elements, emr_dtype as) noexcept
    {
        data = through;
        staging = elements;
        dtype = as;
        stage(writer);
    }

  private:
    void stage(detail::any_writer &writer) noexcept
    {
        write = detail::any_writer::write_part;
        user = &writer;
    }
};
static_assert(sizeof(weights) == sizeof(emr_weights), "an array of them is one of C's");

namespace detail
{
// Throws what one of the writers threw.
inline void rethrow_of(list<weights> targets)
{
    for (const weights &w : targets)
        if (w.write == any_writer::write_part)
            static_cast<any_writer *>(w.user)->rethrow();
}
} // namespace detail

// A product. `batch` is left 0: it is the number of tasks (or modulators) that the call is given.
struct product : detail::sized<emr_product> {
    product() noexcept = default;
    product(which tensor_asked, std::uint64_t rows, span<const float> in, span<float> out) noexcept
    {
        tensor_asked.put_into(*this);
        n_rows = rows;
        x = in.data();
        y = out.data();
    }
};

// Rows to gather. `tasks`, `rows` and `n` are left alone: the call is given them.
struct gather : detail::sized<emr_gather> {
    gather() noexcept = default;
    template <class C, class T = detail::element_of<C>, class = std::enable_if_t<detail::is_output<C>>>
    gather(which tensor_asked, C &&into) noexcept
    {
        tensor_asked.put_into(*this);
        out = std::data(into);
        dtype = dtype_of<T>;
    }
    gather(which tensor_asked, void *into, emr_dtype as) noexcept
    {
        tensor_asked.put_into(*this);
        out = into;
        dtype = as;
    }
};

// Weights to compute with a modulator.
struct application : detail::sized<emr_application> {
    application() noexcept = default;
    // As many as `into` has, from the first one on; `from` must have as many.
    template <class From, class Into, class B = std::remove_cv_t<detail::element_of<From>>,
              class T = detail::element_of<Into>,
              class = std::enable_if_t<detail::is_kept<From>::value && detail::is_output<Into>>>
    application(std::uint32_t of, From &&from, Into &&into) noexcept
    {
        tensor = of;
        base = std::data(from);
        base_dtype = dtype_of<B>;
        out = std::data(into);
        out_dtype = dtype_of<T>;
        count = std::size(into);
    }
};

// Which tensors belong together. Patterns are borrowed until the policy has been given to a call.
struct policy : detail::sized<emr_policy> {
    void set_private(span<const char *const> globs) noexcept { put(globs, private_globs, n_private_globs); }
    void set_merge(span<const char *const> globs) noexcept { put(globs, merge_globs, n_merge_globs); }
    void set_absent(span<const char *const> globs) noexcept { put(globs, absent_globs, n_absent_globs); }
    void set_base(span<const char *const> globs) noexcept { put(globs, base_globs, n_base_globs); }

  private:
    static void put(span<const char *const> globs, const char *const *&to, std::uint32_t &n) noexcept
    {
        to = globs.data();
        n = static_cast<std::uint32_t>(globs.size());
    }
};

// How a model describes a tensor. What it is given is borrowed as C says; the shape for the call alone.
struct tensor_desc : detail::sized<emr_tensor_desc> {
    tensor_desc() noexcept = default;
    tensor_desc(const char *called, emr_dtype of, span<const std::uint64_t> dimensions) noexcept
    {
        name = called;
        dtype = of;
        shape = dimensions.data();
        rank = static_cast<std::uint32_t>(dimensions.size());
    }
    // Its elements are computed by f(const emr::computation &), perhaps on several threads at a time.
    template <class F> void compute_with(F &f) noexcept
    {
        user = detail::address_of(f);
        compute = [](const emr_computation *asked, emr_error *why) noexcept {
            return detail::call_host(why, *static_cast<F *>(asked->user), *asked);
        };
    }
    template <class F> void compute_with(const F &&) = delete;
};

struct model_options : detail::sized<emr_model_options> {
    // Each reading thread has a T as computation.scratch: made before its first computation, destroyed after
    // its last.
    template <class T> void use_scratch() noexcept
    {
        static_assert(alignof(T) <= 64, "scratch is 64-byte aligned");
        scratch_bytes = sizeof(T);
        open_scratch = [](void *, void *memory, emr_error *why) noexcept {
            return detail::call_host(why, [&] { ::new (memory) T(); });
        };
        close_scratch = [](void *, void *memory) noexcept { static_cast<T *>(memory)->~T(); };
    }
};

struct checkpoint_write_options : detail::resourceful<emr_checkpoint_write_options> {
    const emr_checkpoint_write_options *linked() noexcept
    {
        link();
        return this;
    }
};

struct view_options : detail::resourceful<emr_view_options> {
    const emr_view_options *linked() noexcept
    {
        link();
        return this;
    }
};

struct base_check_options : detail::resourceful<emr_base_check_options> {
    const emr_base_check_options *linked() noexcept
    {
        link();
        return this;
    }
};

// Some tasks of a bundle.
struct task_selection : detail::resourceful<emr_task_selection> {
    task_selection() noexcept = default;
    explicit task_selection(span<const std::uint32_t> numbers) noexcept
    {
        tasks = numbers.data();
        n_tasks = static_cast<std::uint32_t>(numbers.size());
    }
    const emr_task_selection *linked() noexcept
    {
        link();
        return this;
    }
};

struct session_options : detail::resourceful<emr_session_options> {
    // Calls f() again and again while a thread waits for another one's. Borrowed until the last handle is
    // destroyed.
    template <class F> void wait_with(F &f) noexcept
    {
        wait_user = detail::address_of(f);
        wait = [](void *given) noexcept { (*static_cast<F *>(given))(); };
    }
    template <class F> void wait_with(const F &&) = delete;
    const emr_session_options *linked() noexcept
    {
        link();
        return this;
    }
};

struct merge_options : detail::resourceful<emr_merge_options> {
    emr::policy policy;              // these two
    emr::modulation_spec modulation; // hide C's pointers, too
    const emr_merge_options *linked() noexcept
    {
        link();
        this->emr_merge_options::policy = &policy;
        this->emr_merge_options::modulation = &modulation;
        return this;
    }
};

struct statistics_options : detail::resourceful<emr_statistics_options> {
    emr::policy policy; // hides C's pointer, too
    void set_quantiles(span<const double> fractions) noexcept
    {
        quantiles = fractions.data();
        n_quantiles = static_cast<std::uint32_t>(fractions.size());
    }
    const emr_statistics_options *linked() noexcept
    {
        link();
        this->emr_statistics_options::policy = &policy;
        return this;
    }
};

struct combination_options : detail::resourceful<emr_combination_options> {
    emr::policy policy; // hides C's pointer, too
    void set_heads(span<const char *const> globs) noexcept
    {
        head_globs = globs.data();
        n_head_globs = static_cast<std::uint32_t>(globs.size());
    }
    const emr_combination_options *linked() noexcept
    {
        link();
        this->emr_combination_options::policy = &policy;
        return this;
    }
};

// Tasks with labels of their own. What it is given is borrowed for the call that it is given to; tasks as C says.
struct heads_options : detail::sized<emr_heads_options> {
    void set_globs(span<const char *const> patterns) noexcept
    {
        globs = patterns.data();
        n_globs = static_cast<std::uint32_t>(patterns.size());
    }
    // As many names as models.
    void set_tasks(span<const char *const> called, span<const emr_model *const> models) noexcept
    {
        names = called.data();
        tasks = models.data();
        n_tasks = static_cast<std::uint32_t>(models.size());
    }
};

// -----------------------------------------------------------------------------------------------------------
// Version, dtypes, blocks
// -----------------------------------------------------------------------------------------------------------

// Static strings.
inline zstring_view version() noexcept { return emr_version(); }
inline std::uint32_t version_number() noexcept { return emr_version_number(); }
inline returns<features> get_features()
{
    return detail::told<features>([](features *f) { return emr_get_features(f); });
}
inline zstring_view status_text(emr_status status) noexcept { return emr_status_text(status); }
inline zstring_view status_name(emr_status status) noexcept { return emr_status_name(status); }

inline std::uint32_t dtype_bits(emr_dtype dtype) noexcept { return emr_dtype_bits(dtype); }
inline zstring_view dtype_name(emr_dtype dtype) noexcept { return emr_dtype_name(dtype); }
// EMR_DTYPE_NONE for a name that is none.
inline emr_dtype dtype_from_name(zstring_view name) noexcept { return emr_dtype_from_name(name.c_str()); }
inline bool dtype_is_float(emr_dtype dtype) noexcept { return emr_dtype_is_float(dtype) != 0; }
inline returns<void> convert(emr_dtype to, void *destination, emr_dtype from, const void *values,
                             std::size_t n)
{
    return detail::finish(emr_convert(to, destination, from, values, n));
}

// In a namespace of their own, so that they meet no others of these names.
namespace elementary
{
inline double exp(double x) noexcept { return emr_exp(x); }
inline double log(double x) noexcept { return emr_log(x); }
} // namespace elementary

// Whether the glob matches the whole name.
inline bool glob_matches(zstring_view glob, zstring_view name) noexcept
{
    return emr_glob_matches(glob.c_str(), name.c_str()) != 0;
}

inline std::uint32_t block_bytes(emr_block_type type) noexcept { return emr_block_bytes(type); }
inline zstring_view block_name(emr_block_type type) noexcept { return emr_block_name(type); }
// `blocks` has room for all of the values, whose number is a multiple of EMR_BLOCK_VALUES; EMR_EINVAL
// otherwise.
inline returns<void> quantise(emr_block_type type, span<std::byte> blocks, list<float> values)
{
    const bool fits =
        blocks.size() / EMR_BLOCK_VALUES >= values.size() / EMR_BLOCK_VALUES &&
        values.size() / EMR_BLOCK_VALUES <= blocks.size() / (emr_block_bytes(type) + !emr_block_bytes(type));
    return detail::finish(fits ? emr_quantise(type, blocks.data(), values.data(), values.size())
                               : EMR_EINVAL);
}
inline returns<void> dequantise(emr_block_type type, span<float> values, list<std::byte> blocks)
{
    const bool fits =
        values.size() / EMR_BLOCK_VALUES <= blocks.size() / (emr_block_bytes(type) + !emr_block_bytes(type));
    return detail::finish(fits ? emr_dequantise(type, values.data(), blocks.data(), values.size())
                               : EMR_EINVAL);
}

inline zstring_view role_name(emr_role role) noexcept { return emr_role_name(role); }

// -----------------------------------------------------------------------------------------------------------
// Threads, files, buffers
// -----------------------------------------------------------------------------------------------------------

// The stock threads. Destroyed after whatever uses them.
class pool : public detail::handle<emr_pool, emr_pool_destroy>
{
  public:
    using handle::handle;
    static returns<pool> create(const pool_options &options = {})
    {
        return detail::made<pool>(
            [&](emr_pool **out, emr_error *why) { return emr_pool_create(out, &options, why); });
    }
    // The pool's own.
    const emr_executor *executor() const noexcept { return emr_pool_executor(get()); }
};

// A file. A created one vanishes unless it is committed.
class file : public detail::handle<emr_file, emr_file_close>
{
  public:
    using handle::handle;
    static returns<file> open(zstring_view path, const file_options &options = {})
    {
        return detail::made<file>(
            [&](emr_file **out, emr_error *why) { return emr_file_open(out, path.c_str(), &options, why); });
    }
    static returns<file> create(zstring_view path, const file_options &options = {})
    {
        return detail::made<file>([&](emr_file **out, emr_error *why) {
            return emr_file_create(out, path.c_str(), &options, why);
        });
    }
    static returns<file> resume(zstring_view path, const file_options &options = {})
    {
        return detail::made<file>([&](emr_file **out, emr_error *why) {
            return emr_file_resume(out, path.c_str(), &options, why);
        });
    }
    returns<void> commit()
    {
        return detail::done([&](emr_error *why) { return emr_file_commit(get(), why); });
    }
    // Closes it; a resumed one vanishes, too.
    void discard() noexcept
    {
        emr_file *c = release();
        emr_file_discard(&c);
    }
    // The file's own.
    const emr_io &io() const noexcept { return *emr_file_io(get()); }
};

// Bytes in memory.
class buffer : public detail::handle<emr_buffer, emr_buffer_destroy>
{
  public:
    using handle::handle;
    static returns<buffer> create(const emr_allocator *allocator = nullptr)
    {
        return detail::made<buffer>(
            [&](emr_buffer **out, emr_error *why) { return emr_buffer_create(out, allocator, why); });
    }
    // The caller's memory, borrowed until the buffer is destroyed.
    static returns<buffer> open(span<const std::byte> memory, const emr_allocator *allocator = nullptr)
    {
        return detail::made<buffer>([&](emr_buffer **out, emr_error *why) {
            return emr_buffer_open(out, memory.data(), memory.size(), allocator, why);
        });
    }
    // Until the next write.
    span<const std::byte> contents() const noexcept
    {
        return {static_cast<const std::byte *>(emr_buffer_data(get())), emr_buffer_bytes(get())};
    }
    // The buffer's own.
    const emr_io &io() const noexcept { return *emr_buffer_io(get()); }
};

// -----------------------------------------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------------------------------------

// A tensor of a model, as small as a pointer and valid as long as the model. There may be none: then get() is
// null, and nothing else may be asked.
class tensor
{
  public:
    using c_type = emr_tensor;

    tensor() noexcept = default;
    tensor(const emr_tensor *c) noexcept : c_(c) {}
    explicit operator bool() const noexcept { return c_ != nullptr; }
    const emr_tensor *get() const noexcept { return c_; }

    zstring_view name() const noexcept { return emr_tensor_name(c_); }
    emr_dtype dtype() const noexcept { return emr_tensor_dtype(c_); }
    std::uint32_t rank() const noexcept { return emr_tensor_rank(c_); }
    span<const std::uint64_t> shape() const noexcept { return {emr_tensor_shape(c_), rank()}; }
    std::uint64_t count() const noexcept { return emr_tensor_count(c_); }
    std::uint64_t bytes() const noexcept { return emr_tensor_bytes(c_); }
    bool same_shape(emr::tensor other) const noexcept { return emr_tensor_same_shape(c_, other.c_) != 0; }

    // As many bytes, or values in F32, as there is room for.
    returns<void> read(std::uint64_t offset, span<std::byte> destination) const
    {
        return detail::done([&](emr_error *why) {
            return emr_tensor_read(c_, offset, destination.data(), destination.size(), why);
        });
    }
    returns<void> read_floats(std::uint64_t first, span<float> values) const
    {
        return detail::done([&](emr_error *why) {
            return emr_tensor_read_floats(c_, first, values.size(), values.data(), why);
        });
    }

    returns<tensor_role> get_role() const
    {
        return detail::told<tensor_role>([&](tensor_role *role) { return emr_tensor_get_role(c_, role); });
    }
    // What GGUF calls the blocks of which it consists, and how many elements they are; nothing of other
    // tensors.
    struct gguf {
        zstring_view name;
        std::uint64_t elements;
    };
    std::optional<gguf> gguf_blocks() const noexcept
    {
        std::uint64_t elements = 0;
        const char *name = emr_gguf_blocks(c_, &elements);
        return name ? std::optional<gguf>({name, elements}) : std::nullopt;
    }

  private:
    const emr_tensor *c_ = nullptr;
};

// An entry of metadata, the model's or the bundle's.
struct metadata_entry {
    zstring_view key;
    zstring_view value;
};

class model : public detail::handle<emr_model, emr_model_destroy>
{
  public:
    using handle::handle;

    static returns<model> create(const model_options &options = {})
    {
        return detail::made<model>(
            [&](emr_model **out, emr_error *why) { return emr_model_create(out, &options, why); });
    }
    // The same, and keeps something until it is destroyed, after every close of scratch: what tensors' data
    // and functions live in, say. Takes the place of options.user and options.destroy. Allocates memory for
    // it (with new).
    template <class T> static returns<model> create_keeping(T kept, model_options options = {})
    {
        auto owner = std::make_unique<T>(std::move(kept));
        options.user = owner.get();
        options.destroy = [](void *user) noexcept { delete static_cast<T *>(user); };
        return detail::made<model>([&](emr_model **out, emr_error *why) {
            emr_status status = emr_model_create(out, &options, why);
            if (status == EMR_OK)
                static_cast<void>(owner.release());
            return status;
        });
    }
    static returns<model> create_zeros(const model &like, const emr_allocator *allocator = nullptr)
    {
        return detail::made<model>([&](emr_model **out, emr_error *why) {
            return emr_model_create_zeros(out, like.get(), allocator, why);
        });
    }
    static returns<model> create_renamed(borrowed<model> of, list<rename> rules,
                                         const emr_allocator *allocator = nullptr)
    {
        return detail::made<model>([&](emr_model **out, emr_error *why) {
            return emr_model_create_renamed(out, of.get(), rules.data(),
                                            static_cast<std::uint32_t>(rules.size()), allocator, why);
        });
    }

    returns<void> add(const tensor_desc &desc)
    {
        return detail::done([&](emr_error *why) { return emr_model_add(get(), &desc, why); });
    }
    // A tensor over the host's memory, borrowed, of the elements' dtype. EMR_EINVAL: the shape is not of so
    // many.
    template <class C, class T = std::remove_cv_t<detail::element_of<C>>>
    returns<void> add(zstring_view name, list<std::uint64_t> shape, C &values)
    {
        return add(name, dtype_of<T>, shape, std::data(values), std::size(values) * sizeof(T));
    }
    // And of any dtype.
    returns<void> add(zstring_view name, emr_dtype dtype, list<std::uint64_t> shape, const void *values,
                      std::size_t bytes)
    {
        tensor_desc desc(name.c_str(), dtype, span<const std::uint64_t>(shape.data(), shape.size()));
        desc.data = values;
        std::uint64_t bits = emr_dtype_bits(dtype);
        for (std::uint64_t n : shape)
            bits = n != 0 && bits > UINT64_MAX / n ? UINT64_MAX : bits * n;
        if (bits == 0 ? bytes != 0 : bits % 8 != 0 || bits / 8 != bytes)
            return detail::finish(
                EMR_EINVAL, failure(EMR_EINVAL, "the shape is not of so many elements", name.c_str()).get());
        return add(desc);
    }
    // A tensor of another model, which must outlive this one.
    returns<void> add_tensor(emr::tensor of_another)
    {
        return detail::done(
            [&](emr_error *why) { return emr_model_add_tensor(get(), of_another.get(), why); });
    }
    returns<void> add_tensor_as(emr::tensor of_another, zstring_view name)
    {
        return detail::done([&](emr_error *why) {
            return emr_model_add_tensor_as(get(), of_another.get(), name.c_str(), why);
        });
    }
    returns<void> prepare(const resources &resources = {}) const
    {
        return detail::done([&](emr_error *why) { return emr_model_prepare(get(), &resources, why); });
    }

    zstring_view name() const noexcept { return emr_model_name(get()); }
    std::uint32_t n_tensors() const noexcept { return emr_model_n_tensors(get()); }
    // None past the end.
    emr::tensor tensor(std::uint32_t i) const noexcept { return emr_model_tensor(get(), i); }
    // None if it has no such.
    emr::tensor find_tensor(zstring_view name) const noexcept
    {
        return emr_model_find_tensor(get(), name.c_str());
    }

    // for (emr::tensor t : model.tensors())
    class tensor_range
    {
      public:
        class iterator
        {
          public:
            using iterator_category = std::input_iterator_tag;
            using value_type = emr::tensor;
            using difference_type = std::ptrdiff_t;
            using pointer = void;
            using reference = emr::tensor;

            iterator(const emr_model *model, std::uint32_t i) noexcept : model_(model), i_(i) {}
            emr::tensor operator*() const noexcept { return emr_model_tensor(model_, i_); }
            iterator &operator++() noexcept
            {
                i_++;
                return *this;
            }
            bool operator==(const iterator &other) const noexcept { return i_ == other.i_; }
            bool operator!=(const iterator &other) const noexcept { return i_ != other.i_; }

          private:
            const emr_model *model_;
            std::uint32_t i_;
        };
        explicit tensor_range(const emr_model *model) noexcept : model_(model) {}
        iterator begin() const noexcept { return {model_, 0}; }
        iterator end() const noexcept { return {model_, emr_model_n_tensors(model_)}; }

      private:
        const emr_model *model_;
    };
    tensor_range tensors() const noexcept { return tensor_range(get()); }

    returns<void> set_metadata(zstring_view key, zstring_view value)
    {
        return detail::done(
            [&](emr_error *why) { return emr_model_set_metadata(get(), key.c_str(), value.c_str(), why); });
    }
    returns<void> remove_metadata(zstring_view key)
    {
        return detail::finish(emr_model_remove_metadata(get(), key.c_str()));
    }
    returns<void> copy_metadata(const model &from)
    {
        return detail::done([&](emr_error *why) { return emr_model_copy_metadata(get(), from.get(), why); });
    }
    // Valid until it is set or removed.
    std::optional<zstring_view> find_metadata(zstring_view key) const noexcept
    {
        const char *value = emr_model_find_metadata(get(), key.c_str());
        return value ? std::optional<zstring_view>(value) : std::nullopt;
    }
    std::uint32_t n_metadata() const noexcept { return emr_model_n_metadata(get()); }
    returns<metadata_entry> get_metadata(std::uint32_t i) const
    {
        const char *key = "", *value = "";
        emr_status status = emr_model_get_metadata(get(), i, &key, &value);
        return detail::finish_with(metadata_entry{key, value}, status);
    }
};

// Model files.
inline returns<model> checkpoint_open(zstring_view path, const checkpoint_read_options &options = {})
{
    return detail::made<model>([&](emr_model **out, emr_error *why) {
        return emr_checkpoint_open(out, path.c_str(), &options, why);
    });
}
inline returns<model> safetensors_open(const emr_io &io, zstring_view name,
                                       const checkpoint_read_options &options = {})
{
    return detail::made<model>([&](emr_model **out, emr_error *why) {
        return emr_safetensors_open(out, &io, name.c_str(), &options, why);
    });
}
inline returns<model> gguf_open(const emr_io &io, zstring_view name,
                                const checkpoint_read_options &options = {})
{
    return detail::made<model>([&](emr_model **out, emr_error *why) {
        return emr_gguf_open(out, &io, name.c_str(), &options, why);
    });
}
inline returns<void> checkpoint_write(const model &model, zstring_view path,
                                      checkpoint_write_options options = {})
{
    return detail::done([&](emr_error *why) {
        return emr_checkpoint_write(model.get(), path.c_str(), options.linked(), why);
    });
}
// written(zstring_view path) is called in the end, with each file's path.
template <class F>
returns<void> checkpoint_write(const model &model, zstring_view path, checkpoint_write_options options,
                               F &&written)
{
    auto report = [&](const char *name) { return written(zstring_view(name)); };
    detail::reporter<decltype(report)> reporter(report);
    options.user = &reporter;
    options.written = [](void *user, const char *name) noexcept {
        (*static_cast<detail::reporter<decltype(report)> *>(user))(name);
    };
    emr_error why;
    emr_status status = emr_checkpoint_write(model.get(), path.c_str(), options.linked(), &why);
    return reporter.finish(status, why);
}
inline returns<void> safetensors_write(const model &model, const emr_io &io,
                                       checkpoint_write_options options = {})
{
    return detail::done(
        [&](emr_error *why) { return emr_safetensors_write(model.get(), &io, options.linked(), why); });
}
inline returns<void> gguf_write(const model &model, const emr_io &io, checkpoint_write_options options = {})
{
    return detail::done(
        [&](emr_error *why) { return emr_gguf_write(model.get(), &io, options.linked(), why); });
}

// Adapters. `names` are what messages call the models, one for each.
inline returns<void> adapters_agree(list<const emr_model *> models, list<const char *> names,
                                    const agree_options &options = {})
{
    emr_error why;
    if (names.size() != models.size())
        return detail::finish(EMR_EINVAL, failure(EMR_EINVAL, "adapters_agree: a name for each model").get());
    emr_status status = emr_adapters_agree(models.data(), names.data(), models.size(), &options, &why);
    return detail::finish(status, why);
}
inline std::int32_t adapter_rank_dimension(zstring_view name) noexcept
{
    return emr_adapter_rank_dimension(name.c_str());
}
inline returns<model> adapter_create_ones(const model &like, const emr_allocator *allocator = nullptr)
{
    return detail::made<model>([&](emr_model **out, emr_error *why) {
        return emr_adapter_create_ones(out, like.get(), allocator, why);
    });
}
inline returns<model> adapter_apply(borrowed<model> base, borrowed<model> adapter,
                                    const resources &resources = {})
{
    return detail::made<model>([&](emr_model **out, emr_error *why) {
        return emr_adapter_apply(out, base.get(), adapter.get(), &resources, why);
    });
}

// -----------------------------------------------------------------------------------------------------------
// Modulators
// -----------------------------------------------------------------------------------------------------------

// One task's modulator, for one thread.
class modulator : public detail::handle<emr_modulator, emr_modulator_destroy>
{
  public:
    using handle::handle;

    static returns<modulator> create(const emr_allocator *allocator = nullptr)
    {
        return detail::made<modulator>(
            [&](emr_modulator **out, emr_error *why) { return emr_modulator_create(out, allocator, why); });
    }
    // What it points to is borrowed until the modulator is destroyed.
    returns<void> add(const modulation &described)
    {
        return detail::done([&](emr_error *why) { return emr_modulator_add(get(), &described, why); });
    }

    std::uint32_t n_tensors() const noexcept { return emr_modulator_n_tensors(get()); }
    returns<std::uint32_t> find_tensor(zstring_view name) const
    {
        return detail::told<std::uint32_t>(
            [&](std::uint32_t *number) { return emr_modulator_find_tensor(get(), name.c_str(), number); });
    }
    // None past the end.
    std::optional<zstring_view> tensor_name(std::uint32_t tensor) const noexcept
    {
        const char *name = emr_modulator_tensor_name(get(), tensor);
        return name ? std::optional<zstring_view>(name) : std::nullopt;
    }
    std::uint64_t tensor_count(std::uint32_t tensor) const noexcept
    {
        return emr_modulator_tensor_count(get(), tensor);
    }
    std::uint64_t n_rescalers(std::uint32_t tensor) const noexcept
    {
        return emr_modulator_n_rescalers(get(), tensor);
    }
    // As many as there is room for.
    returns<void> read_rescalers(std::uint32_t tensor, std::uint64_t first, span<float> rescalers)
    {
        return detail::done([&](emr_error *why) {
            return emr_modulator_read_rescalers(get(), tensor, first, rescalers.size(), rescalers.data(),
                                                why);
        });
    }
    returns<void> apply(const application &application)
    {
        return detail::done([&](emr_error *why) { return emr_modulator_apply(get(), &application, why); });
    }
    // Counts the tensor's mask bits.
    returns<modulator_stats> get_stats(std::uint32_t tensor)
    {
        return detail::filled<modulator_stats>([&](modulator_stats *stats, emr_error *why) {
            return emr_modulator_get_stats(get(), tensor, stats, why);
        });
    }
};

namespace detail
{
// A product's batch is that of the tasks beside it.
inline emr_status set_batch(product &product, std::size_t batch, emr_error *why) noexcept
{
    if (product.batch != 0 && product.batch != batch)
        return emr_error_set(why, EMR_EINVAL, 0, nullptr, "product.batch is not the number of tasks");
    product.batch = batch;
    return EMR_OK;
}
} // namespace detail

// A batch whose vectors have a modulator each: modulators[b] is that of vector b's task, a modulator's get().
// product.n_columns is set.
inline returns<void> modulator_multiply(list<emr_modulator *> modulators, product product,
                                        emr_dtype base_dtype, const void *base)
{
    emr_error why;
    emr_status status = detail::set_batch(product, modulators.size(), &why);
    if (status == EMR_OK)
        status = emr_modulator_multiply(modulators.data(), &product, base_dtype, base, &why);
    return detail::finish(status, why);
}

// -----------------------------------------------------------------------------------------------------------
// Bundles
// -----------------------------------------------------------------------------------------------------------

// What a merge wrote. It does not change: everything here is concurrent. Models, modulators and sessions made
// of it must be destroyed before it.
class bundle : public detail::handle<emr_bundle, emr_bundle_destroy>
{
  public:
    using handle::handle;

    // The object behind `io` is borrowed until the bundle is destroyed.
    static returns<bundle> open(const emr_io &io, zstring_view name = "bundle",
                                const bundle_options &options = {})
    {
        return detail::made<bundle>([&](emr_bundle **out, emr_error *why) {
            return emr_bundle_open(out, &io, name.c_str(), &options, why);
        });
    }
    static returns<bundle> open_file(zstring_view path, const bundle_options &options = {})
    {
        return detail::made<bundle>([&](emr_bundle **out, emr_error *why) {
            return emr_bundle_open_file(out, path.c_str(), &options, why);
        });
    }

    zstring_view name() const noexcept { return emr_bundle_name(get()); }
    // EMR_ENOTFOUND past the end. Strings and shapes are the bundle's.
    returns<bundle_info> get_info() const
    {
        return detail::told<bundle_info>([&](bundle_info *info) { return emr_bundle_get_info(get(), info); });
    }
    returns<task_info> get_task(std::uint32_t task) const
    {
        return detail::told<task_info>(
            [&](task_info *info) { return emr_bundle_get_task(get(), task, info); });
    }
    returns<tensor_info> get_tensor(std::uint32_t tensor) const
    {
        return detail::told<tensor_info>(
            [&](tensor_info *info) { return emr_bundle_get_tensor(get(), tensor, info); });
    }
    returns<private_info> get_private(std::uint32_t task, std::uint32_t i) const
    {
        return detail::told<private_info>(
            [&](private_info *info) { return emr_bundle_get_private(get(), task, i, info); });
    }
    returns<modulation_spec> get_modulation(std::uint32_t task) const
    {
        return detail::told<modulation_spec>(
            [&](modulation_spec *spec) { return emr_bundle_get_modulation(get(), task, spec, nullptr); });
    }
    returns<fidelity> get_fidelity(std::uint32_t task) const
    {
        return detail::told<fidelity>(
            [&](fidelity *near) { return emr_bundle_get_modulation(get(), task, nullptr, near); });
    }

    returns<std::uint32_t> find_task(zstring_view name) const
    {
        return detail::filled<std::uint32_t>([&](std::uint32_t *task, emr_error *why) {
            return emr_bundle_find_task(get(), name.c_str(), task, why);
        });
    }
    returns<std::uint32_t> find_tensor(zstring_view name) const
    {
        return detail::filled<std::uint32_t>([&](std::uint32_t *tensor, emr_error *why) {
            return emr_bundle_find_tensor(get(), name.c_str(), tensor, why);
        });
    }

    // Of a task's checkpoint, or the base's (EMR_BASE).
    std::uint32_t n_metadata(std::uint32_t task) const noexcept { return emr_bundle_n_metadata(get(), task); }
    returns<metadata_entry> get_metadata(std::uint32_t task, std::uint32_t i) const
    {
        const char *key = "", *value = "";
        emr_status status = emr_bundle_get_metadata(get(), task, i, &key, &value);
        return detail::finish_with(metadata_entry{key, value}, status);
    }
    std::optional<zstring_view> find_metadata(std::uint32_t task, zstring_view key) const noexcept
    {
        const char *value = emr_bundle_find_metadata(get(), task, key.c_str());
        return value ? std::optional<zstring_view>(value) : std::nullopt;
    }

    returns<modulator> open_modulator(std::uint32_t task, const emr_allocator *allocator = nullptr) const
    {
        return detail::made<modulator>([&](emr_modulator **out, emr_error *why) {
            return emr_bundle_open_modulator(out, get(), task, allocator, why);
        });
    }
    // nullptr: the embedded base.
    returns<model> open_task(std::uint32_t task, borrowed<model> base, view_options options = {}) const
    {
        return detail::made<model>([&](emr_model **out, emr_error *why) {
            return emr_bundle_open_task(out, get(), task, base.get(), options.linked(), why);
        });
    }
    returns<model> open_base(const emr_allocator *allocator = nullptr) const
    {
        return detail::made<model>([&](emr_model **out, emr_error *why) {
            return emr_bundle_open_base(out, get(), allocator, why);
        });
    }
    returns<model> open_unified(const emr_allocator *allocator = nullptr) const
    {
        return detail::made<model>([&](emr_model **out, emr_error *why) {
            return emr_bundle_open_unified(out, get(), allocator, why);
        });
    }
    returns<model> open_mask(std::uint32_t task, const emr_allocator *allocator = nullptr) const
    {
        return detail::made<model>([&](emr_model **out, emr_error *why) {
            return emr_bundle_open_mask(out, get(), task, allocator, why);
        });
    }

    returns<void> verify(const resources &resources = {}) const
    {
        return detail::done([&](emr_error *why) { return emr_bundle_verify(get(), &resources, why); });
    }
    returns<void> check_base(const model &base, base_check_options options = {}) const
    {
        return detail::done(
            [&](emr_error *why) { return emr_bundle_check_base(get(), base.get(), options.linked(), why); });
    }
    // differs(const emr::base_difference &) is called with every tensor that is another.
    template <class F>
    returns<void> check_base(const model &base, base_check_options options, F &&differs) const
    {
        auto report = [&](const emr_base_difference &difference) { return differs(difference); };
        detail::reporter<decltype(report)> reporter(report);
        options.user = &reporter;
        options.differs = [](void *user, const emr_base_difference *difference) noexcept {
            (*static_cast<detail::reporter<decltype(report)> *>(user))(*difference);
        };
        emr_error why;
        emr_status status = emr_bundle_check_base(get(), base.get(), options.linked(), &why);
        return reporter.finish(status, why);
    }

    // Written to `to`: a bundle without these tasks, or with these alone. For a report masks are read a
    // second time.
    returns<void> drop(task_selection dropped, const emr_io &to) const
    {
        return detail::done(
            [&](emr_error *why) { return emr_bundle_drop(get(), dropped.linked(), &to, nullptr, why); });
    }
    returns<drop_report> drop_reporting(task_selection dropped, const emr_io &to) const
    {
        return detail::filled<drop_report>([&](drop_report *report, emr_error *why) {
            return emr_bundle_drop(get(), dropped.linked(), &to, report, why);
        });
    }
    returns<void> extract(task_selection kept, const emr_io &to) const
    {
        return detail::done(
            [&](emr_error *why) { return emr_bundle_extract(get(), kept.linked(), &to, nullptr, why); });
    }
    returns<drop_report> extract_reporting(task_selection kept, const emr_io &to) const
    {
        return detail::filled<drop_report>([&](drop_report *report, emr_error *why) {
            return emr_bundle_extract(get(), kept.linked(), &to, report, why);
        });
    }
};

// -----------------------------------------------------------------------------------------------------------
// Combined models
// -----------------------------------------------------------------------------------------------------------

// The library's methods, by name or one after another; null where there is none. A method of the host's own is a
// method whose callbacks are functions, or lambdas that capture nothing; they must not throw.
inline const emr_method *method_find(zstring_view name) noexcept { return emr_method_find(name.c_str()); }
inline const emr_method *method_at(std::uint32_t i) noexcept { return emr_method_at(i); }
inline double method_value(const method_tensor &tensor, std::uint32_t input, std::uint32_t parameter) noexcept
{
    return emr_method_value(&tensor, input, parameter);
}
inline bool method_is_above(const double *cut, float key, std::uint64_t position) noexcept
{
    return emr_method_is_above(cut, key, position) != 0;
}
// The heads of tasks that have labels of their own, side by side.
class heads : public detail::handle<emr_heads, emr_heads_destroy>
{
  public:
    using handle::handle;

    static returns<heads> create(const heads_options &options)
    {
        return detail::made<heads>(
            [&](emr_heads **out, emr_error *why) { return emr_heads_create(out, &options, why); });
    }
    std::uint64_t n_rows() const noexcept { return emr_heads_n_rows(get()); }
    // nullptr past the end.
    const char *tensor(std::uint32_t i) const noexcept { return emr_heads_tensor(get(), i); }
    returns<head_group> get_group(std::uint32_t task) const
    {
        return detail::told<head_group>(
            [&](head_group *group) { return emr_heads_get_group(get(), task, group); });
    }
    returns<model> open_task(std::uint32_t task) const
    {
        return detail::made<model>(
            [&](emr_model **out, emr_error *why) { return emr_heads_open_task(get(), task, out, why); });
    }
    returns<model> open_base(borrowed<model> base) const
    {
        return detail::made<model>([&](emr_model **out, emr_error *why) {
            return emr_heads_open_base(get(), base.get(), out, why);
        });
    }
    // 0: each head in the dtype of the first task that has it.
    returns<model> open_joined(emr_dtype dtype = 0) const
    {
        return detail::made<model>(
            [&](emr_model **out, emr_error *why) { return emr_heads_open_joined(get(), dtype, out, why); });
    }
    returns<void> set_metadata(model &joined) const
    {
        return detail::done([&](emr_error *why) { return emr_heads_set_metadata(get(), joined.get(), why); });
    }
};

// Logits of whole rows, `stride` apart, into probabilities in `out`, of the same length. EMR_EINVAL, too: the lengths are
// not those of whole rows.
inline returns<void> group_softmax(span<const float> logits, std::size_t stride,
                                   span<const head_group> groups, span<float> out)
{
    const bool is_whole = stride && logits.size() == out.size() && logits.size() % stride == 0;
    return detail::finish(is_whole ? emr_group_softmax(logits.data(), logits.size() / stride, stride,
                                                       groups.data(), groups.size(), out.data())
                                   : EMR_EINVAL);
}

// As many words as there is room for.
inline void method_draw(const method_tensor &tensor, std::uint32_t input, std::uint64_t first,
                        span<std::uint32_t> words) noexcept
{
    emr_method_draw(&tensor, input, first, words.size(), words.data());
}

class combination : public detail::handle<emr_combination, emr_combination_destroy>
{
  public:
    using handle::handle;

    static returns<combination> create(combination_options options)
    {
        return detail::made<combination>([&](emr_combination **out, emr_error *why) {
            return emr_combination_create(out, options.linked(), why);
        });
    }
    returns<void> set_base(borrowed<model> base)
    {
        return detail::done([&](emr_error *why) { return emr_combination_set_base(get(), base.get(), why); });
    }
    returns<void> add_task(zstring_view name, borrowed<model> task)
    {
        return detail::done(
            [&](emr_error *why) { return emr_combination_add_task(get(), name.c_str(), task.get(), why); });
    }
    // For all tasks, in all tensors.
    returns<void> set_parameter(zstring_view parameter, double value)
    {
        return set_parameter(parameter, EMR_EVERY_TASK, nullptr, value);
    }
    // In tensors that the glob matches; nullptr: in all.
    returns<void> set_parameter(zstring_view parameter, std::uint32_t task, const char *glob, double value)
    {
        return detail::done([&](emr_error *why) {
            return emr_combination_set_parameter(get(), parameter.c_str(), task, glob, value, why);
        });
    }
    returns<combination_plan> get_plan()
    {
        return detail::filled<combination_plan>([&](combination_plan *plan, emr_error *why) {
            return emr_combination_get_plan(get(), plan, why);
        });
    }
    returns<combined_tensor> get_tensor(std::uint32_t i) const
    {
        return detail::told<combined_tensor>(
            [&](combined_tensor *tensor) { return emr_combination_get_tensor(get(), i, tensor); });
    }
    returns<model> open_model()
    {
        return detail::made<model>(
            [&](emr_model **out, emr_error *why) { return emr_combination_open_model(get(), out, why); });
    }
};

// -----------------------------------------------------------------------------------------------------------
// Merging
// -----------------------------------------------------------------------------------------------------------

// What merge::push wants next from a source: no tensor when it is done.
struct expected_bytes {
    emr::tensor tensor;
    std::uint64_t bytes = 0;
};

// One merge. Models, a bundle, and what outputs and sinks stand for are borrowed until it is destroyed.
class merge : public detail::handle<emr_merge, emr_merge_destroy>
{
  public:
    using handle::handle;

    static returns<merge> create(merge_options options = {})
    {
        return detail::made<merge>(
            [&](emr_merge **out, emr_error *why) { return emr_merge_create(out, options.linked(), why); });
    }
    returns<void> set_base(borrowed<model> base)
    {
        return detail::done([&](emr_error *why) { return emr_merge_set_base(get(), base.get(), why); });
    }
    returns<void> add_task(zstring_view name, borrowed<model> task)
    {
        return detail::done(
            [&](emr_error *why) { return emr_merge_add_task(get(), name.c_str(), task.get(), why); });
    }
    returns<void> set_modulation(std::uint32_t task, const modulation_spec &spec)
    {
        return detail::done(
            [&](emr_error *why) { return emr_merge_set_modulation(get(), task, &spec, why); });
    }
    returns<void> extend(borrowed<bundle> with)
    {
        return detail::done([&](emr_error *why) { return emr_merge_extend(get(), with.get(), why); });
    }

    returns<plan_summary> get_plan()
    {
        return detail::filled<plan_summary>(
            [&](plan_summary *summary, emr_error *why) { return emr_merge_get_plan(get(), summary, why); });
    }
    returns<plan_tensor> get_plan_tensor(std::uint32_t i) const
    {
        return detail::told<plan_tensor>(
            [&](plan_tensor *tensor) { return emr_merge_get_plan_tensor(get(), i, tensor); });
    }

    returns<void> set_output(const emr_io &to)
    {
        return detail::done([&](emr_error *why) { return emr_merge_set_output(get(), &to, why); });
    }
    returns<void> set_sink(const sink &to)
    {
        return detail::done([&](emr_error *why) { return emr_merge_set_sink(get(), &to, why); });
    }
    // Before the run; from 0.
    returns<void> set_part(std::uint32_t part, std::uint32_t n_parts)
    {
        return detail::done([&](emr_error *why) { return emr_merge_set_part(get(), part, n_parts, why); });
    }
    // Whether it is that part of this merge.
    returns<void> check_part(const emr_io &io, const char *name = nullptr)
    {
        return detail::done([&](emr_error *why) { return emr_merge_check_part(get(), &io, name, why); });
    }
    returns<void> set_journal(const emr_io &journal, std::uint64_t interval = 0)
    {
        return detail::done(
            [&](emr_error *why) { return emr_merge_set_journal(get(), &journal, interval, why); });
    }

    returns<void> run()
    {
        return detail::done([&](emr_error *why) { return emr_merge_run(get(), why); });
    }

    // Push: begin, push until all is taken, finish.
    returns<void> begin()
    {
        return detail::done([&](emr_error *why) { return emr_merge_begin(get(), why); });
    }
    // How many of the bytes were taken; fewer than all: push the other sources first. EMR_BASE or a task's
    // number.
    returns<std::size_t> push(std::uint32_t of, list<std::byte> bytes)
    {
        return detail::filled<std::size_t>([&](std::size_t *taken, emr_error *why) {
            return emr_merge_push(get(), of, bytes.data(), bytes.size(), taken, why);
        });
    }
    returns<expected_bytes> get_expected(std::uint32_t of) const
    {
        return detail::filled<expected_bytes>([&](expected_bytes *expected, emr_error *why) {
            const emr_tensor *tensor = nullptr;
            emr_status status = emr_merge_get_expected(get(), of, &tensor, &expected->bytes, why);
            expected->tensor = tensor;
            return status;
        });
    }
    returns<void> finish()
    {
        return detail::done([&](emr_error *why) { return emr_merge_finish(get(), why); });
    }

    // After the run.
    returns<fidelity> get_fidelity(std::uint32_t task) const
    {
        return detail::told<fidelity>(
            [&](fidelity *near) { return emr_merge_get_fidelity(get(), task, near); });
    }
    returns<task_report> get_task_report(std::uint32_t task) const
    {
        return detail::told<task_report>(
            [&](task_report *report) { return emr_merge_get_task_report(get(), task, report); });
    }
};

// Parts of a merge become its bundle. What parts and output stand for is borrowed until it is destroyed.
class join : public detail::handle<emr_join, emr_join_destroy>
{
  public:
    using handle::handle;

    static returns<join> create(const resources &resources = {})
    {
        return detail::made<join>(
            [&](emr_join **out, emr_error *why) { return emr_join_create(out, &resources, why); });
    }
    // In any order; `name` is what messages call it.
    returns<void> add_part(const emr_io &part, zstring_view name = "part")
    {
        return detail::done(
            [&](emr_error *why) { return emr_join_add_part(get(), &part, name.c_str(), why); });
    }
    returns<void> set_output(const emr_io &to)
    {
        return detail::done([&](emr_error *why) { return emr_join_set_output(get(), &to, why); });
    }
    returns<void> run()
    {
        return detail::done([&](emr_error *why) { return emr_join_run(get(), why); });
    }
};

// -----------------------------------------------------------------------------------------------------------
// Statistics of task vectors, and kinship
// -----------------------------------------------------------------------------------------------------------

class statistics : public detail::handle<emr_statistics, emr_statistics_destroy>
{
  public:
    using handle::handle;

    static returns<statistics> create(statistics_options options = {})
    {
        return detail::made<statistics>([&](emr_statistics **out, emr_error *why) {
            return emr_statistics_create(out, options.linked(), why);
        });
    }
    returns<void> set_base(borrowed<model> base)
    {
        return detail::done([&](emr_error *why) { return emr_statistics_set_base(get(), base.get(), why); });
    }
    returns<void> add_task(zstring_view name, borrowed<model> task)
    {
        return detail::done(
            [&](emr_error *why) { return emr_statistics_add_task(get(), name.c_str(), task.get(), why); });
    }
    returns<statistics_plan> get_plan()
    {
        return detail::filled<statistics_plan>(
            [&](statistics_plan *plan, emr_error *why) { return emr_statistics_get_plan(get(), plan, why); });
    }
    returns<void> run()
    {
        return detail::done([&](emr_error *why) { return emr_statistics_run(get(), why); });
    }
    std::uint32_t n_groups(emr_statistics_scope scope) const noexcept
    {
        return emr_statistics_n_groups(get(), scope);
    }
    // Its arrays are this object's.
    returns<statistics_group> get_group(emr_statistics_scope scope, std::uint32_t i = 0) const
    {
        return detail::told<statistics_group>(
            [&](statistics_group *group) { return emr_statistics_get_group(get(), scope, i, group); });
    }
    // `matrix` has room for a number for every two tasks.
    returns<void> split_kinship(span<double> matrix, const kinship_options &options = {}) const
    {
        return detail::done([&](emr_error *why) {
            return emr_statistics_split_kinship(get(), &options, matrix.data(), why);
        });
    }
};

inline returns<task_moments> get_moments(const emr_statistics_group &group, std::uint32_t task)
{
    return detail::told<task_moments>(
        [&](task_moments *moments) { return emr_statistics_get_moments(&group, task, moments); });
}

// `matrix` has room for group.n_tasks times as many numbers.
inline returns<void> kinship(const emr_statistics_group &group, span<double> matrix,
                             const kinship_options &options = {})
{
    return detail::done([&](emr_error *why) { return emr_kinship(&group, &options, matrix.data(), why); });
}
inline double kinship_mean(const double *matrix, std::uint32_t n_tasks) noexcept
{
    return emr_kinship_mean(matrix, n_tasks);
}
// Where a tensor of that name counts.
inline std::int64_t layer_of(const char *name) noexcept { return emr_statistics_layer_of(name); }
inline const char *kind_of(const char *name) noexcept { return emr_statistics_kind_of(name); }

// -----------------------------------------------------------------------------------------------------------
// Searching
// -----------------------------------------------------------------------------------------------------------

namespace detail
{
// The number that a callback returned, a double or a result<double>.
inline result<void> set_number(double *number, const result<double> &given)
{
    if (given)
        *number = *given;
    return given ? result<void>() : result<void>(given.error());
}
inline result<void> set_number(double *number, double given)
{
    *number = given;
    return {};
}
} // namespace detail

// Who merges and scores, as emr_search_host: an object that has
//     void merge(const emr_search_candidate &candidate);
//     double evaluate(const emr_search_candidate &candidate);          // not finite: it has no score
//     double similarity(std::uint32_t a, std::uint32_t b);             // may be absent
//     void release(std::uint32_t number);                              // may be absent
// where merge may also return what callbacks may, and those that give numbers a result<double>; release must not throw.
struct search_host : detail::sized<emr_search_host> {
    search_host() noexcept = default;

    template <class T, class = std::enable_if_t<!std::is_base_of<emr_search_host, T>::value>>
    explicit search_host(T &object) noexcept
    {
        user = detail::address_of(object);
        merge = [](void *given, const emr_search_candidate *candidate, emr_error *why) noexcept {
            return detail::call_host(why, [&] { return static_cast<T *>(given)->merge(*candidate); });
        };
        evaluate = [](void *given, const emr_search_candidate *candidate, double *score,
                      emr_error *why) noexcept {
            return detail::call_host(why, [&] {
                return detail::set_number(score, static_cast<T *>(given)->evaluate(*candidate));
            });
        };
        if constexpr (detail::can<detail::its_similarity, T>)
            similarity = [](void *given, std::uint32_t a, std::uint32_t b, double *alike,
                            emr_error *why) noexcept {
                return detail::call_host(why, [&] {
                    return detail::set_number(alike, static_cast<T *>(given)->similarity(a, b));
                });
            };
        if constexpr (detail::can<detail::its_release, T>)
            release = [](void *given, std::uint32_t number) noexcept {
                static_cast<T *>(given)->release(number);
            };
    }
};

// Greedy merging that is guided by kinship.
class search : public detail::handle<emr_search, emr_search_destroy>
{
  public:
    using handle::handle;

    static returns<search> create(const search_options &options = {})
    {
        return detail::made<search>(
            [&](emr_search **out, emr_error *why) { return emr_search_create(out, &options, why); });
    }
    returns<void> add_model(zstring_view name)
    {
        return detail::done([&](emr_error *why) { return emr_search_add_model(get(), name.c_str(), why); });
    }
    returns<void> run(const search_host &host)
    {
        return detail::done([&](emr_error *why) { return emr_search_run(get(), &host, why); });
    }
    returns<search_candidate> get_candidate(std::uint32_t i) const
    {
        return detail::told<search_candidate>(
            [&](search_candidate *candidate) { return emr_search_get_candidate(get(), i, candidate); });
    }
    returns<search_result> get_result() const
    {
        return detail::told<search_result>(
            [&](search_result *result) { return emr_search_get_result(get(), result); });
    }
};

// Trials with values drawn at random; f(const emr_trial &) scores one, as search_host's evaluate. It is borrowed.
struct trials_options : detail::sized<emr_trials_options> {
    template <class F> void evaluate_with(F &f) noexcept
    {
        user = detail::address_of(f);
        evaluate = [](void *given, const emr_trial *tried, double *score, emr_error *why) noexcept {
            return detail::call_host(
                why, [&] { return detail::set_number(score, (*static_cast<F *>(given))(*tried)); });
        };
    }
    template <class F> void evaluate_with(const F &&) = delete;
};
inline void trial_draw(std::uint64_t seed, std::uint32_t number, span<double> values) noexcept
{
    emr_trial_draw(seed, number, values.size(), values.data());
}
// The best one.
inline returns<trial> trials_run(const trials_options &options)
{
    return detail::filled<trial>(
        [&](trial *best, emr_error *why) { return emr_trials_run(&options, best, why); });
}

// -----------------------------------------------------------------------------------------------------------
// Sessions
// -----------------------------------------------------------------------------------------------------------

// A bundle inside a running engine, or one more handle of it, for one thread at a time. Bundle and base must
// outlive all of them. apply, multiply and gather allocate nothing.
class session : public detail::handle<emr_session, emr_session_destroy>
{
  public:
    using handle::handle;

    // nullptr: the embedded base; with options.without_base, none.
    static returns<session> create(borrowed<bundle> of, borrowed<model> base, session_options options = {})
    {
        return detail::made<session>([&](emr_session **out, emr_error *why) {
            return emr_session_create(out, of.get(), base.get(), options.linked(), why);
        });
    }
    // One more handle, for one more thread.
    returns<session> open_thread()
    {
        return detail::made<session>(
            [&](emr_session **out, emr_error *why) { return emr_session_open_thread(out, get(), why); });
    }

    // Writes a task's weights, or the base's (EMR_BASE).
    returns<void> apply(std::uint32_t task, list<weights> targets)
    {
        emr_error why;
        emr_status status = emr_session_apply(get(), task, targets.data(), targets.size(), &why);
        if (status != EMR_OK)
            detail::rethrow_of(targets);
        return detail::finish(status, why);
    }
    // tasks[b] is the task of vector b, or EMR_BASE.
    returns<void> multiply(list<std::uint32_t> tasks, product product)
    {
        emr_error why;
        emr_status status = detail::set_batch(product, tasks.size(), &why);
        if (status == EMR_OK)
            status = emr_session_multiply(get(), tasks.data(), &product, &why);
        return detail::finish(status, why);
    }
    // Row i is row rows[i] of tasks[i]; no rows: row 0 of each.
    returns<void> gather(list<std::uint32_t> tasks, list<std::uint64_t> rows, emr::gather from)
    {
        emr_error why;
        if (!rows.empty() && rows.size() != tasks.size())
            return detail::finish(EMR_EINVAL,
                                  failure(EMR_EINVAL, "gather: a row for each task, or none").get());
        from.tasks = tasks.data();
        from.rows = rows.empty() ? nullptr : rows.data();
        from.n = tasks.size();
        emr_status status = emr_session_gather(get(), &from, &why);
        return detail::finish(status, why);
    }

    returns<session_info> get_info() const
    {
        return detail::told<session_info>(
            [&](session_info *info) { return emr_session_get_info(get(), info); });
    }
};

} // namespace EMR_HPP_NAMESPACE
} // namespace emr

#undef EMR_HPP_CATCHES
#undef EMR_HPP_THROWS
// EMR_HPP_NAMESPACE stays, for what is written over this header (fit.hpp).

#endif
