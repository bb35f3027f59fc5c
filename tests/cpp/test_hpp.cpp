// test_hpp.cpp - emr.hpp, in whatever mode it is compiled: C++17 or later, calls that throw or calls that
// return a result. attempt() makes one of the other, so that nothing here is written twice; what only
// exceptions do is below TEST_EXCEPTIONS.
#include "test_hpp.h"

#include <array>
#include <atomic>
#include <cmath>
#include <memory_resource>
#include <thread>

#if defined(__cpp_exceptions) && !defined(EMR_NO_EXCEPTIONS)
#define TEST_EXCEPTIONS 1
#else
#define TEST_EXCEPTIONS 0
#endif

// ------------------------------------------------------------------------------------------- ranges and errors

static_assert(std::is_convertible<std::vector<float> &, emr::span<float>>::value, "");
static_assert(std::is_convertible<const std::vector<float> &, emr::span<const float>>::value, "");
static_assert(std::is_convertible<emr::span<float>, emr::span<const float>>::value, "");
static_assert(!std::is_convertible<const std::vector<float> &, emr::span<float>>::value, "constness is kept");
static_assert(!std::is_convertible<std::vector<double> &, emr::span<float>>::value, "types are kept");
static_assert(!std::is_convertible<std::vector<float>, emr::span<float>>::value, "a temporary is not kept");
static_assert(!std::is_convertible<std::vector<float>, emr::span<const float>>::value,
              "a temporary is not kept");
static_assert(std::is_convertible<std::vector<float>, emr::list<float>>::value,
              "a parameter may be a temporary");

static std::size_t count_all(emr::list<std::uint32_t> values)
{
    std::size_t sum = 0;
    for (std::uint32_t v : values)
        sum += v;
    return sum * 100 + values.size();
}

static void test_spans()
{
    std::vector<float> v = {1, 2, 3};
    std::array<float, 2> a = {4, 5};
    float c[4] = {6, 7, 8, 9};
    emr::span<float> of_vector = v, of_array = a, of_c = c, of_pointer(c + 1, 2), none;
    CHECK(of_vector.size() == 3 && of_vector.data() == v.data() && of_vector[2] == 3);
    CHECK(of_array.size() == 2 && of_c.size() == 4 && of_pointer[0] == 7 && none.empty() && !none.data());
    emr::span<const float> widened = of_vector;
    CHECK(widened.end() - widened.begin() == 3);
    const std::vector<std::uint32_t> numbers = {1, 2};
    CHECK(count_all({}) == 0 && count_all({7}) == 701 && count_all({1, 2}) == 302 &&
          count_all(numbers) == 302);
    CHECK(count_all({numbers.data(), 1}) == 101 && count_all(std::vector<std::uint32_t>{5}) == 501);
#ifdef __cpp_lib_span
    std::span<float> standard = v;
    emr::span<float> of_standard = standard;
    emr::span<const float> of_temporary = std::span<float>(v);
    std::span<const float> back = widened;
    CHECK(of_standard.data() == v.data() && of_temporary.size() == 3 && back.size() == 3);
#endif
}

static_assert(std::is_base_of<std::runtime_error, emr::error>::value, "");
static_assert(std::is_nothrow_copy_constructible<emr::error>::value, "");
static_assert(std::is_trivially_copyable<emr::failure>::value && sizeof(emr::failure) == sizeof(emr_error),
              "");

static void test_errors()
{
    const emr::failure lost(EMR_EIO, "the connection was lost", "weights.bin", 5);
    CHECK(lost.status() == EMR_EIO && lost.system() == 5 && lost.file() == "weights.bin" &&
          lost.task().empty());
    CHECK(std::string(lost.text()).find("the connection was lost") != std::string::npos);
    const emr::error thrown(lost);
    CHECK(std::string(thrown.what()) == lost.text() && thrown.file() == "weights.bin");
    CHECK(std::string(emr::failure(EMR_ENOMEM).text()) == "out of memory");

    emr::result<std::unique_ptr<int>> owner = std::make_unique<int>(3);
    CHECK(owner && **owner == 3 && owner.status() == EMR_OK && *owner.value() == 3);
    const std::unique_ptr<int> taken = std::move(owner).value();
    CHECK(*taken == 3);
    const emr::result<int> none = lost;
    CHECK(!none && !none.has_value() && none.status() == EMR_EIO && none.error().file() == "weights.bin");
    CHECK(emr::result<void>() && !emr::result<void>(lost));
    CHECK(*emr::attempt([] { return 4; }) == 4 && emr::attempt([] {}).has_value());
    CHECK(emr::attempt([&] { return emr::result<int>(lost); }).status() == EMR_EIO);
#if TEST_EXCEPTIONS
    CHECK(emr::attempt([&]() -> int { throw emr::error(lost); }).error().system() == 5);
    try {
        none.value();
        CHECK(false);
    } catch (const std::runtime_error &e) {
        CHECK(std::string(e.what()) == lost.text());
    }
#endif
}

// What a failed call tells.
static void test_failed_calls()
{
    const auto file = emr::attempt([] { return emr::bundle::open_file("/no/such/tasks.emr"); });
    CHECK(!file && file.status() == EMR_EIO && file.error().system() != 0 &&
          file.error().file() == "/no/such/tasks.emr");
    const toy t = toy::make();
    const auto task = emr::attempt([&] { return t.bundle.find_task("greek"); });
    CHECK(task.status() == EMR_ENOTFOUND && task.error().task() == "greek");
    CHECK(emr::attempt([&] { return t.bundle.get_task(17); }).status() == EMR_ENOTFOUND);
    CHECK(emr::attempt([&] { return emr::model().set_metadata("a", "b"); }).status() == EMR_EINVAL);
#if TEST_EXCEPTIONS
    try {
        static_cast<void>(t.bundle.find_tensor("nothing"));
        CHECK(false);
    } catch (const emr::error &e) {
        CHECK(e.status() == EMR_ENOTFOUND && e.tensor() == "nothing");
    }
#else
    static_assert(std::is_same<decltype(t.bundle.find_task("")), emr::result<std::uint32_t>>::value, "");
#endif
}

// --------------------------------------------------------------------------------------------- owners, structs

static_assert(!std::is_copy_constructible<emr::session>::value && !std::is_copy_assignable<emr::model>::value,
              "");
static_assert(std::is_nothrow_move_constructible<emr::bundle>::value && sizeof(emr::bundle) == sizeof(void *),
              "");
static_assert(std::is_convertible<const emr::model &, emr::borrowed<emr::model>>::value, "");
static_assert(!std::is_convertible<emr::model, emr::borrowed<emr::model>>::value, "no temporary is borrowed");
static_assert(!std::is_convertible<std::string, emr::which>::value, "nor its name");

// What a struct points to has a name, or only points to elements itself; and is of a dtype, for none is C's default.
using floats = std::vector<float>;
static_assert(std::is_constructible<emr::weights, const char *, floats &>::value &&
                  std::is_constructible<emr::weights, const char *, emr::span<float>>::value &&
                  !std::is_constructible<emr::weights, const char *, const floats &>::value &&
                  !std::is_constructible<emr::weights, const char *, floats>::value &&
                  !std::is_constructible<emr::weights, const char *, std::vector<std::byte> &>::value,
              "");
static_assert(std::is_constructible<emr::gather, const char *, floats &>::value &&
                  !std::is_constructible<emr::gather, const char *, floats>::value &&
                  !std::is_constructible<emr::gather, const char *, std::vector<std::byte> &>::value,
              "");
static_assert(std::is_constructible<emr::product, const char *, int, const floats &, floats &>::value &&
                  !std::is_constructible<emr::product, const char *, int, floats, floats &>::value,
              "");
static_assert(std::is_constructible<emr::application, int, const floats &, floats &>::value &&
                  !std::is_constructible<emr::application, int, floats, floats &>::value &&
                  !std::is_constructible<emr::application, int, const floats &, floats>::value,
              "");
static_assert(sizeof(emr::product) == sizeof(emr_product) && sizeof(emr::tensor) == sizeof(void *), "");

static void test_owners()
{
    emr::buffer a = MUST(emr::buffer::create());
    emr_buffer *c = a.get();
    emr::buffer b = std::move(a);
    CHECK(!a && b.get() == c);
    a = std::move(b);
    emr::buffer &same = a;
    a = std::move(same);
    CHECK(a.get() == c && !b);
    a = MUST(emr::buffer::create());
    emr::buffer taken(a.release());
    CHECK(!a && taken && taken.contents().empty());
    taken.reset();
    CHECK(!taken);
}

static void test_structs()
{
    emr::session_options session;
    CHECK(session.size == sizeof(emr_session_options) && session.resources.size == sizeof(emr_resources));
    session.resources.memory_bytes = 7;
    CHECK(session.linked()->resources->memory_bytes == 7);
    emr::session_options copy = session;
    CHECK(copy.linked()->resources == &copy.resources);
    emr::merge_options merge;
    merge.modulation.kind = EMR_MODULATOR_KIND_SIGN;
    CHECK(merge.linked()->policy == &merge.policy &&
          merge.linked()->modulation->kind == EMR_MODULATOR_KIND_SIGN);

    std::vector<float> v(6);
    const emr::weights by_name("a", v), by_number(3, v.data(), EMR_DTYPE_BF16);
    CHECK(by_name.data == v.data() && by_name.count == 6 && by_name.dtype == EMR_DTYPE_F32 && !by_name.write);
    CHECK(!by_number.name && by_number.tensor == 3 && by_number.dtype == EMR_DTYPE_BF16 &&
          by_number.count == 0);
    std::vector<float> room;
    room.reserve(4);
    CHECK(!emr::weights("a", room).data); // and so is refused, where a count of 0 would mean all elements
    const emr::weights beyond(std::uint64_t(1) << 32, v), negative(-1, v);
    CHECK(beyond.tensor == UINT32_MAX && negative.tensor == UINT32_MAX);
    const emr::product p(0, 2, v, v);
    CHECK(!p.name && p.tensor == 0 && p.n_rows == 2 && p.x == v.data() && p.size == sizeof(emr_product));
    static_assert(emr::dtype_of<double> == EMR_DTYPE_F64 && emr::dtype_of<char *> == EMR_DTYPE_NONE, "");
}

static void test_numbers()
{
    CHECK(emr::version() == EMR_VERSION_STRING && emr::version_number() == EMR_VERSION_NUMBER);
    CHECK(MUST(emr::get_features()).hosted == 1);
    CHECK(emr::status_name(EMR_EIO) == "EMR_EIO" && emr::status_text(EMR_ENOMEM) == "out of memory");
    CHECK(emr::elementary::exp(0) == 1 && emr::elementary::log(1) == 0);
    CHECK(emr::glob_matches("layers.[0-3].*", std::string("layers.2.w")) &&
          !emr::glob_matches("w", "layers.2.w"));
    CHECK(emr::dtype_bits(EMR_DTYPE_BF16) == 16 && emr::dtype_name(EMR_DTYPE_F32) == "F32");
    CHECK(emr::dtype_from_name(std::string("F16")) == EMR_DTYPE_F16 && !emr::dtype_is_float(EMR_DTYPE_I8));
    CHECK(emr::role_name(EMR_ROLE_CODE) == "code");
    const std::array<float, 2> from = {1, -2};
    std::array<std::uint16_t, 2> to = {};
    MUST(emr::convert(EMR_DTYPE_BF16, to.data(), EMR_DTYPE_F32, from.data(), 2));
    CHECK(to[0] == 0x3f80 && to[1] == 0xc000);
}

static void test_blocks()
{
    std::vector<float> values(64), back(64);
    for (std::size_t i = 0; i < values.size(); i++)
        values[i] = static_cast<float>(i) - 32;
    std::vector<std::byte> blocks(68);
    CHECK(emr::block_bytes(EMR_BLOCK_TYPE_Q8_0) == 34 && emr::block_name(EMR_BLOCK_TYPE_Q4_0) == "Q4_0");
    MUST(emr::quantise(EMR_BLOCK_TYPE_Q8_0, blocks, values));
    MUST(emr::dequantise(EMR_BLOCK_TYPE_Q8_0, back, blocks));
    for (std::size_t i = 0; i < values.size(); i++)
        CHECK(std::abs(values[i] - back[i]) < 0.2f);
    blocks.pop_back(); // no room
    CHECK(emr::attempt([&] { return emr::quantise(EMR_BLOCK_TYPE_Q8_0, blocks, values); }).status() ==
          EMR_EINVAL);
    CHECK(emr::attempt([&] { return emr::dequantise(EMR_BLOCK_TYPE_Q8_0, back, blocks); }).status() ==
          EMR_EINVAL);
    CHECK(emr::attempt([&] { return emr::quantise(99, blocks, values); }).status() == EMR_EINVAL);
}

// ------------------------------------------------------------------------------------------------------ callbacks

// Memory that counts, and is at its end after so many blocks.
struct counting_resource {
    std::size_t in_use = 0, n = 0, most = SIZE_MAX;

    void *allocate(std::size_t bytes, std::size_t alignment)
    {
        if (n == most) {
#ifdef __cpp_exceptions
            throw std::bad_alloc();
#else
            return nullptr;
#endif
        }
        n++;
        in_use += bytes;
        return ::operator new(bytes, std::align_val_t(alignment));
    }
    void deallocate(void *pointer, std::size_t bytes, std::size_t alignment)
    {
        in_use -= bytes;
        ::operator delete(pointer, std::align_val_t(alignment));
    }
};

static void test_allocators()
{
    const toy t = toy::make();
    counting_resource counting;
    const emr::allocator allocator(counting);
    emr::bundle_options options;
    options.allocator = &allocator;
    {
        const emr::bundle bundle = MUST(emr::bundle::open(t.file.io(), "again", options));
        CHECK(counting.in_use > 0 && MUST(bundle.get_info()).n_tasks == 2);
    }
    CHECK(counting.in_use == 0);
    for (std::size_t most = 0, all = counting.n; most < all; most++) {
        counting.n = 0;
        counting.most = most;
        const auto none = emr::attempt([&] { return emr::bundle::open(t.file.io(), "again", options); });
        CHECK(none.status() == EMR_ENOMEM && counting.in_use == 0);
    }

    std::pmr::unsynchronized_pool_resource pool;
    const emr::allocator polymorphic(pool);
    options.allocator = &polymorphic;
    CHECK(MUST(MUST(emr::bundle::open(t.file.io(), "again", options)).get_info()).n_tasks == 2);

    std::allocator<int> standard;
    const emr::allocator rebound(standard);
    emr::buffer buffer = MUST(emr::buffer::create(&rebound));
    MUST(emr::safetensors_write(t.base, buffer.io()));
    CHECK(buffer.contents().size() > 64);
    void *block = rebound.alloc(rebound.user, 1, 64);
    CHECK(reinterpret_cast<std::uintptr_t>(block) % 64 == 0);
    rebound.free(rebound.user, block);
    CHECK(!allocator.alloc(allocator.user, SIZE_MAX, 1));
}

static void test_executor()
{
    std::atomic<std::size_t> done{0};
    auto threads = [&](std::size_t n, const emr::work &work) {
        std::thread other([&] {
            for (std::size_t i = 0; i < n; i += 2, done++)
                work(i);
        });
        for (std::size_t i = 1; i < n; i += 2, done++)
            work(i);
        other.join();
    };
    const emr::executor executor(threads, 2);
    emr::merge_options options;
    options.resources.executor = &executor;
    const toy t = toy::make(options);
    CHECK(done > 0 && t.same_as(toy::make()));
    const emr::pool pool = MUST(emr::pool::create());
    options.resources.executor = pool.executor();
    CHECK(toy::make(options).same_as(t));
}

static void test_progress()
{
    const toy t = toy::make();
    std::uint64_t last = 0;
    auto follow = [&](const emr::progress &p) { last = p.done; };
    emr::resources resources;
    resources.on_progress(follow);
    MUST(t.bundle.verify(resources));
    CHECK(last > 0);
    auto stop = [](const emr::progress &) { return false; };
    resources.on_progress(stop);
    CHECK(emr::attempt([&] { return t.bundle.verify(resources); }).status() == EMR_ECANCELED);
    auto fail = [](const emr::progress &) -> emr::result<void> {
        return emr::failure(EMR_EIO, "the user left");
    };
    resources.on_progress(fail);
    const auto failed = emr::attempt([&] { return t.bundle.verify(resources); });
    CHECK(failed.status() == EMR_ECANCELED && says(failed, "the user left"));
#if TEST_EXCEPTIONS
    auto raise = [](const emr::progress &) { throw std::runtime_error("the window was closed"); };
    resources.on_progress(raise);
    const auto raised = emr::attempt([&] { return t.bundle.verify(resources); });
    CHECK(raised.status() == EMR_ECANCELED && says(raised, "the window was closed"));
    auto number = [](const emr::progress &) { throw 3; };
    resources.on_progress(number);
    CHECK(emr::attempt([&] { return t.bundle.verify(resources); }).status() == EMR_ECANCELED);
#endif
}

// Some bytes of the host's. `fail` is how reading fails, if it does.
struct blob {
    std::vector<std::byte> bytes;
    int fail = 0;
    std::size_t synced = 0;

    emr::result<void> read(std::uint64_t offset, emr::span<std::byte> destination)
    {
        if (fail == 1)
            return emr::failure(EMR_EIO, "the cable is loose", "blob");
#if TEST_EXCEPTIONS
        if (fail == 2)
            throw std::runtime_error("the cable is off");
        if (fail == 3)
            throw std::bad_alloc();
        if (fail == 4)
            throw emr::error(EMR_ECANCELED, "nobody waits");
#endif
        if (offset > bytes.size() || destination.size() > bytes.size() - offset)
            return emr::failure(EMR_EIO, "past the end", "blob");
        if (!destination.empty())
            std::memcpy(destination.data(), bytes.data() + offset, destination.size());
        return {};
    }
    std::uint64_t length() const
    {
        return bytes.size();
    }
    void write(std::uint64_t offset, emr::span<const std::byte> source)
    {
        bytes.resize(std::max<std::size_t>(bytes.size(), offset + source.size()));
        std::copy(source.begin(), source.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
    }
    void sync()
    {
        synced++;
    }
};

// One that can be read and mapped.
struct memory {
    const blob *of;
    emr_status read(std::uint64_t, emr::span<std::byte>)
    {
        return EMR_EUNSUPPORTED;
    }
    emr::result<std::uint64_t> length() const
    {
        return static_cast<std::uint64_t>(of->bytes.size());
    }
    const void *map(std::uint64_t offset, std::size_t)
    {
        return of->bytes.data() + offset;
    }
    void unmap(emr::span<const std::byte>)
    {
    }
    void will_need(std::uint64_t, std::uint64_t)
    {
    }
};

static void test_io()
{
    const toy t = toy::make();
    blob b;
    const emr::io io(b);
    CHECK(io.read && io.write && io.length && io.sync && !io.map && !io.unmap && !io.will_need);
    const std::uint32_t first[] = {0};
    MUST(t.bundle.extract(emr::task_selection(first), io));
    const emr::bundle one = MUST(emr::bundle::open(io, "blob"));
    CHECK(MUST(one.get_info()).n_tasks == 1 && MUST(one.get_info()).bytes == b.bytes.size() &&
          one.name() == "blob");
    MUST(one.verify());
    b.fail = 1;
    const auto failed = emr::attempt([&] { return one.verify(); });
    CHECK(failed.status() == EMR_EIO && says(failed, "the cable is loose"));
#if TEST_EXCEPTIONS
    b.fail = 2;
    CHECK(says(emr::attempt([&] { return one.verify(); }), "the cable is off"));
    b.fail = 3;
    CHECK(emr::attempt([&] { return one.verify(); }).status() == EMR_ENOMEM);
    b.fail = 4;
    const auto canceled = emr::attempt([&] { return one.verify(); });
    CHECK(canceled.status() == EMR_ECANCELED && says(canceled, "nobody waits"));
#endif
    b.fail = 0;
    MUST(one.verify());

    memory m = {&b};
    const emr::io mapped(m);
    CHECK(!mapped.write && mapped.map && mapped.unmap && mapped.will_need && !mapped.sync);
    std::uint64_t bytes = 0;
    emr_error why;
    const void *window = nullptr;
    CHECK(mapped.length(mapped.user, &bytes, &why) == EMR_OK && bytes == b.bytes.size());
    CHECK(mapped.map(mapped.user, 8, 8, &window, &why) == EMR_OK && window == b.bytes.data() + 8);
    CHECK(mapped.read(mapped.user, 0, nullptr, 0, &why) == EMR_EUNSUPPORTED);
}

// ---------------------------------------------------------------------------------------------------------- models

// Counts who is alive.
struct scratch {
    static std::atomic<int> alive, made;
    float values[8192];
    scratch()
    {
        alive++, made++;
    }
    ~scratch()
    {
        alive--;
    }
};
std::atomic<int> scratch::alive{0}, scratch::made{0};

static void test_models()
{
    std::vector<float> values = {1, 2, 3, 4, 5, 6};
    emr::model model = MUST(emr::model::create());
    MUST(model.add("a", {2, 3}, values));
    MUST(model.add("empty", EMR_DTYPE_U8, {0, 3}, nullptr, 0));
    CHECK(emr::attempt([&] { return model.add("b", {7}, values); }).status() == EMR_EINVAL);
    CHECK(emr::attempt([&] { return model.add("b", {UINT64_MAX, 4}, values); }).status() == EMR_EINVAL);
    CHECK(emr::attempt([&] { return model.add("a", {6}, values); }).status() == EMR_EEXIST);
    std::string all;
    for (emr::tensor t : model.tensors())
        all += std::string(t.name()) + ";";
    CHECK(all == "a;empty;" && model.n_tensors() == 2 && !model.tensor(2) && !model.find_tensor("b"));
    const emr::tensor a = model.find_tensor("a");
    CHECK(a.name() == "a" && a.dtype() == EMR_DTYPE_F32 && a.rank() == 2 && a.count() == 6 &&
          a.bytes() == 24);
    CHECK(a.shape().size() == 2 && a.shape()[1] == 3 && a.same_shape(model.tensor(0)) && !a.gguf_blocks());
    CHECK(MUST(a.get_role()).role == EMR_ROLE_WEIGHT);
    float middle[2];
    MUST(a.read_floats(2, middle));
    CHECK(middle[0] == 3 && middle[1] == 4);
    std::array<std::byte, 4> bytes;
    MUST(a.read(20, bytes));
    CHECK(std::memcmp(bytes.data(), &values[5], 4) == 0);
    CHECK(emr::attempt([&] { return a.read(21, bytes); }).status() == EMR_EINVAL);

    MUST(model.set_metadata("k", "v"));
    CHECK(model.n_metadata() == 1 && *model.find_metadata("k") == "v" && !model.find_metadata("x"));
    CHECK(MUST(model.get_metadata(0)).key == "k" && !emr::attempt([&] { return model.get_metadata(1); }));
    emr::model zeros = MUST(emr::model::create_zeros(model));
    MUST(zeros.copy_metadata(model));
    MUST(zeros.remove_metadata("k"));
    CHECK(zeros.name() == "zeros" && zeros.n_metadata() == 0);
    const emr::model renamed = MUST(emr::model::create_renamed(model, {{"a", "b"}}));
    CHECK(renamed.find_tensor("b") && !renamed.find_tensor("a"));
    MUST(zeros.add_tensor(renamed.find_tensor("b")));
    CHECK(zeros.find_tensor("b"));
}

static void test_computed()
{
    auto kept = std::make_shared<int>(1);
    std::weak_ptr<int> watched = kept;
    std::uint64_t most = 0;
    auto counting = [&](const emr::computation &c) {
        auto *s = static_cast<scratch *>(c.scratch);
        for (std::size_t i = 0; i < c.count; i++)
            s->values[i] = static_cast<float>(c.first + i);
        std::memcpy(c.out, s->values, c.count * sizeof(float));
        most = std::max(most, c.first + c.count);
    };
    auto failing = [](const emr::computation &) -> emr::result<void> {
        return emr::failure(EMR_ENOTFOUND, "no seed");
    };
    const std::uint64_t shape[] = {20000};
    {
        emr::model_options options;
        options.use_scratch<scratch>();
        emr::model model = MUST(emr::model::create_keeping(std::move(kept), options));
        emr::tensor_desc numbers("numbers", EMR_DTYPE_F32, shape), none("none", EMR_DTYPE_F32, shape);
        numbers.compute_with(counting);
        none.compute_with(failing);
        MUST(model.add(numbers));
        MUST(model.add(none));
        std::vector<float> values(20000);
        MUST(model.find_tensor("numbers").read_floats(0, values));
        CHECK(values[19999] == 19999 && scratch::made > 0);
        CHECK(most == 20000);
        const auto failed = emr::attempt([&] { return model.find_tensor("none").read_floats(0, values); });
        CHECK(failed.status() == EMR_ENOTFOUND && says(failed, "no seed") &&
              failed.error().tensor() == "none");
#if TEST_EXCEPTIONS
        auto raise = [](const emr::computation &) { throw std::runtime_error("the dice are lost"); };
        emr::tensor_desc raising("raising", EMR_DTYPE_F32, shape);
        raising.compute_with(raise);
        MUST(model.add(raising));
        CHECK(says(emr::attempt([&] { return model.find_tensor("raising").read_floats(0, values); }),
                   "the dice are lost"));
#endif
        CHECK(!watched.expired());
    }
    CHECK(watched.expired() && scratch::alive == 0);
}

// Two tasks whose heads have two labels and one.
static void test_heads()
{
    std::vector<float> weights[] = {{1, 2, 3, 4}, {5, 6}};
    emr::model tasks[] = {MUST(emr::model::create()), MUST(emr::model::create())};
    MUST(tasks[0].add("head", {2, 2}, weights[0]));
    MUST(tasks[1].add("head", {1, 2}, weights[1]));
    const char *const globs[] = {"head"}, *const names[] = {"two", "one"};
    const emr_model *const models[] = {tasks[0].get(), tasks[1].get()};
    emr::heads_options options;
    options.set_globs(globs);
    options.set_tasks(names, models);
    const emr::heads heads = MUST(emr::heads::create(options));
    CHECK(heads.n_rows() == 3 && std::strcmp(heads.tensor(0), "head") == 0 && !heads.tensor(1));
    const emr::head_group groups[] = {MUST(heads.get_group(0)), MUST(heads.get_group(1))};
    CHECK(groups[1].first == 2 && groups[1].count == 1);
    CHECK(emr::attempt([&] { return heads.get_group(2); }).status() == EMR_ENOTFOUND);
    std::vector<float> rows(6);
    emr::model joined = MUST(heads.open_joined());
    MUST(joined.find_tensor("head").read_floats(0, rows));
    CHECK(rows == (std::vector<float>{1, 2, 3, 4, 5, 6}));
    MUST(heads.set_metadata(joined));
    CHECK(joined.find_metadata(EMR_HEAD_GROUPS).has_value());
    const emr::model view = MUST(heads.open_task(1)), base = MUST(heads.open_base(tasks[0]));
    MUST(view.find_tensor("head").read_floats(0, rows));
    CHECK(rows == (std::vector<float>{0, 0, 0, 0, 5, 6}));
    MUST(base.find_tensor("head").read_floats(0, rows));
    CHECK(rows == std::vector<float>(6));
    const std::vector<float> logits = {7, 7, 0};
    std::vector<float> p(3);
    MUST(emr::group_softmax(logits, 3, groups, p));
    CHECK(p == (std::vector<float>{0.5f, 0.5f, 0.5f}));
    CHECK(emr::attempt([&] { return emr::group_softmax(logits, 2, groups, p); }).status() == EMR_EINVAL);
}

static void test_checkpoints()
{
    const toy t = toy::make();
    const std::string path = own_path("model.safetensors");
    std::vector<std::string> written;
    MUST(
        emr::checkpoint_write(t.base, path, {}, [&](emr::zstring_view name) { written.emplace_back(name); }));
    CHECK(written.size() == 1 && written[0] == path);
    CHECK(emr::attempt([&] { return emr::checkpoint_write(t.base, path); }).status() == EMR_EEXIST);
    emr::checkpoint_write_options replace;
    replace.replace = 1;
    MUST(emr::checkpoint_write(t.base, path, replace));
    const auto refused = emr::attempt([&] {
        return emr::checkpoint_write(t.base, path, replace, [](emr::zstring_view) { return EMR_ELIMIT; });
    });
    CHECK(refused.status() == EMR_ELIMIT);
#if TEST_EXCEPTIONS
    try {
        emr::checkpoint_write(t.base, path, replace, [](emr::zstring_view) { throw 17; });
        CHECK(false);
    } catch (int number) {
        CHECK(number == 17);
    }
#endif
    const emr::model again = MUST(emr::checkpoint_open(path));
    CHECK(again.n_tensors() == t.base.n_tensors());
    {
        const emr::file file = MUST(emr::file::open(path));
        const emr::model by_io = MUST(emr::safetensors_open(file.io(), "file"));
        CHECK(by_io.name() == "file" && by_io.n_tensors() == again.n_tensors());
        CHECK(emr::attempt([&] { return emr::gguf_open(file.io(), "file"); }).status() == EMR_EFORMAT);
    }
    emr::buffer buffer = MUST(emr::buffer::create());
    CHECK(emr::attempt([&] { return emr::gguf_write(t.base, buffer.io()); }).status() == EMR_EUNSUPPORTED);

    emr::file_options options;
    options.replace = 1;
    emr::file file = MUST(emr::file::create(path, options));
    MUST(emr::safetensors_write(t.base, file.io()));
    MUST(file.commit());
    emr::file partial = MUST(emr::file::resume(path, options));
    partial.discard();
    CHECK(!partial && MUST(emr::checkpoint_open(path)).n_tensors() == 2);
    std::remove(path.c_str());

    const emr::span<const std::byte> contents = t.file.contents();
    const emr::buffer view = MUST(emr::buffer::open(contents));
    CHECK(view.contents().data() == contents.data() && view.contents().size() == contents.size());
}

static void test_adapters()
{
    CHECK(emr::adapter_rank_dimension("x.lora_A.weight") == 0 &&
          emr::adapter_rank_dimension("x.weight") == -1);
    const toy t = toy::make();
    MUST(emr::adapters_agree({t.base.get(), t.models[0].get()}, {"base", "french"}));
    CHECK(emr::attempt([&] { return emr::adapters_agree({t.base.get()}, {}); }).status() == EMR_EINVAL);
    const emr::model ones = MUST(emr::adapter_create_ones(t.base));
    CHECK(ones.name() == "ones");
    CHECK(emr::attempt([&] { return emr::adapter_apply(t.base, t.models[0]); }).status() == EMR_EUNSUPPORTED);
}

// -------------------------------------------------------------------------------------------- merges and bundles

static void test_bundles()
{
    const toy t = toy::make();
    const emr::bundle &bundle = t.bundle;
    CHECK(MUST(bundle.get_info()).n_merged == 2 && MUST(bundle.find_task("german")) == 1);
    CHECK(std::string(MUST(bundle.get_task(0)).name) == "french" && MUST(bundle.get_task(0)).mask_ones > 0);
    const emr::tensor_info info = MUST(bundle.get_tensor(MUST(bundle.find_tensor("layer"))));
    CHECK(info.rank == 2 && emr::shape_of(info).size() == 2 && emr::shape_of(info)[1] == toy::columns);
    CHECK(emr::attempt([&] { return bundle.get_private(0, 0); }).status() == EMR_ENOTFOUND);
    CHECK(MUST(bundle.get_modulation(0)).kind == EMR_MODULATOR_KIND_MASK);
    CHECK(std::isnan(MUST(bundle.get_fidelity(0)).error));
    CHECK(bundle.n_metadata(0) == 1 && *bundle.find_metadata(0, "language") == "french");
    CHECK(MUST(bundle.get_metadata(0, 0)).value == "french" && !bundle.find_metadata(EMR_BASE, "language"));

    MUST(bundle.check_base(t.base));
    std::string differing;
    auto note = [&](const emr::base_difference &d) { differing += std::string(d.tensor) + ";"; };
    CHECK(emr::attempt([&] { return bundle.check_base(t.models[0], {}, note); }).status() == EMR_EMISMATCH);
    CHECK(differing == "layer;bias;");
#if TEST_EXCEPTIONS
    int times = 0;
    try {
        bundle.check_base(t.models[0], {}, [&](const emr::base_difference &) {
            times++;
            throw std::out_of_range("mine");
        });
        CHECK(false);
    } catch (const std::out_of_range &e) {
        CHECK(std::string(e.what()) == "mine" && times == 1);
    }
#endif

    emr::view_options options;
    options.check = EMR_BASE_CHECK_NONE;
    options.dtype = EMR_DTYPE_F64;
    CHECK(MUST(bundle.open_task(0, t.base, options)).tensor(0).dtype() == EMR_DTYPE_F64);
    CHECK(emr::attempt([&] { return bundle.open_task(0, nullptr); }).status() == EMR_ENOTFOUND);
    CHECK(emr::attempt([&] { return bundle.open_base(); }).status() == EMR_ENOTFOUND);
    CHECK(MUST(bundle.open_unified()).tensor(0).dtype() == EMR_DTYPE_F32);
    CHECK(MUST(bundle.open_mask(1)).tensor(0).dtype() == EMR_DTYPE_BOOL);

    emr::buffer less = MUST(emr::buffer::create());
    const std::uint32_t dropped[] = {1};
    CHECK(MUST(bundle.drop_reporting(emr::task_selection(dropped), less.io())).unified > 0);
    const emr::bundle one = MUST(emr::bundle::open(less.io()));
    CHECK(MUST(one.get_info()).n_tasks == 1 && one.name() == "bundle");
    emr::buffer also = MUST(emr::buffer::create());
    MUST(bundle.drop(emr::task_selection(dropped), also.io()));
    emr::buffer other = MUST(emr::buffer::create());
    CHECK(MUST(bundle.extract_reporting(emr::task_selection(dropped), other.io())).unified > 0);
}

static void test_merges()
{
    const toy t = toy::make();
    emr::merge_options options;
    options.extendable = 1;
    options.measure = 1;
    const char *const heads[] = {"bias"};
    options.policy.set_private(heads);
    options.policy.set_merge({});
    options.policy.set_absent({});
    options.policy.set_base({});
    emr::merge merge = MUST(emr::merge::create(options));
    MUST(merge.set_base(t.base));
    MUST(merge.add_task("french", t.models[0]));
    emr::buffer file = MUST(emr::buffer::create());
    MUST(merge.set_output(file.io()));
    CHECK(MUST(merge.get_plan()).n_merged == 1);
    CHECK(MUST(merge.get_plan_tensor(1)).action == EMR_ACTION_PRIVATE &&
          emr::shape_of(MUST(merge.get_plan_tensor(1)))[0] == toy::rows);
    MUST(merge.run());
    CHECK(MUST(merge.get_task_report(0)).mask_ones > 0 && MUST(merge.get_fidelity(0)).error < 0.01f);

    const emr::bundle first = MUST(emr::bundle::open(file.io()));
    CHECK(std::string(MUST(first.get_private(0, 0)).name) == "bias" && MUST(first.get_info()).extendable);
    emr::merge more = MUST(emr::merge::create());
    MUST(more.extend(first));
    MUST(more.set_base(t.base));
    MUST(more.add_task("german", t.models[1]));
    emr::buffer larger = MUST(emr::buffer::create());
    MUST(more.set_output(larger.io()));
    MUST(more.run());
    CHECK(MUST(MUST(emr::bundle::open(larger.io())).get_info()).n_tasks == 2);

    emr::merge coded = MUST(emr::merge::create());
    MUST(coded.set_base(t.base));
    MUST(coded.add_task("french", t.models[0]));
    emr::modulation_spec sign;
    sign.kind = EMR_MODULATOR_KIND_SIGN;
    MUST(coded.set_modulation(0, sign));
    emr::buffer small = MUST(emr::buffer::create());
    MUST(coded.set_output(small.io()));
    MUST(coded.run());
    emr::merge again = MUST(emr::merge::create());
    CHECK(emr::attempt([&] { return again.set_journal(small.io()); }).status() == EMR_ESTATE);
    CHECK(emr::attempt([&] { return again.run(); }).status() == EMR_ESTATE);
}

// A method of the host's own: half of the first task's change, and what is found is how many elements there are.
static emr_status halve(const emr_method_chunk *chunk, emr_error *)
{
    for (std::size_t i = 0; i < chunk->n; i++)
        chunk->out[i] = chunk->tensor->found[0] == double(chunk->tensor->count)
                            ? chunk->inputs[0][i] * float(emr::method_value(*chunk->tensor, 0, 0))
                            : 0;
    return EMR_OK;
}

static void test_combinations()
{
    const toy t = toy::make();
    emr::combination_options options;
    options.method = emr::method_find("task_arithmetic");
    options.resources.memory_bytes = 8 << 20;
    options.policy.on_missing = EMR_ON_MISSING_BASE;
    options.set_heads({});
    emr::combination combination = MUST(emr::combination::create(options));
    MUST(combination.set_base(t.base));
    MUST(combination.add_task("french", t.models[0]));
    MUST(combination.add_task("german", t.models[1]));
    MUST(combination.set_parameter("weight", 0.5));
    MUST(combination.set_parameter("weight", 1, "bias", 0));
    CHECK(emr::attempt([&] { return combination.set_parameter("height", 1); }).status() == EMR_ENOTFOUND);
    CHECK(MUST(combination.get_plan()).n_combined == 2);
    CHECK(emr::shape_of(MUST(combination.get_tensor(0)))[1] == toy::columns);
    const emr::model combined = MUST(combination.open_model());
    MUST(combined.prepare());
    std::vector<float> got(toy::rows);
    MUST(combined.tensor(1).read_floats(0, got));
    for (std::size_t i = 0; i < toy::rows; i++)
        CHECK(got[i] == t.bias[i] + (t.tuned[1][i] - t.bias[i]) * 0.5f);
    emr::model renamed = MUST(emr::model::create());
    MUST(renamed.add_tensor_as(combined.tensor(1), "other"));
    CHECK(renamed.find_tensor("other").count() == toy::rows);

    emr::method_stage count;
    count.n_found = [](const emr_method_tensor *) -> std::uint32_t { return 1; };
    count.add_sums = [](const emr_method_chunk *chunk, double *sums) { sums[0] += double(chunk->n); };
    const emr::method_parameter share = {"share", 0.5, 0, 1, 0, 0};
    emr::method method;
    method.name = "half";
    method.parameters = &share;
    method.n_parameters = 1;
    method.stages[0] = &count;
    method.base = EMR_METHOD_BASE_REQUIRED;
    method.combine = halve;
    options.method = &method;
    emr::combination own = MUST(emr::combination::create(options));
    MUST(own.set_base(t.base));
    MUST(own.add_task("french", t.models[0]));
    MUST(MUST(own.open_model()).tensor(1).read_floats(0, got));
    for (std::size_t i = 0; i < toy::rows; i++)
        CHECK(got[i] == t.bias[i] + (t.tuned[1][i] - t.bias[i]) * 0.5f);

    CHECK(!emr::method_at(UINT32_MAX) && emr::method_at(0));
    const double cut[] = {0.5, 3};
    CHECK(emr::method_is_above(cut, 0.5f, 2) && !emr::method_is_above(cut, 0.5f, 3));
}

// What a merge gives, taken as it comes.
struct taken_parts {
    std::vector<float> unified_values;
    std::size_t n_masks = 0;
    bool fail = false;
    emr::result<void> unified(const emr::sink_part &part)
    {
        if (fail)
            return emr::failure(EMR_EIO, "the drain is clogged");
        const auto *values = static_cast<const float *>(part.values);
        unified_values.insert(unified_values.end(), values, values + part.n);
        return {};
    }
    void mask(const emr::sink_part &)
    {
        n_masks++;
    }
};

static void push_all(emr::merge &merge, const toy &t)
{
    MUST(merge.begin());
    std::vector<std::byte> bytes[3];
    std::size_t pushed[3] = {}, left = 1;
    for (std::size_t s = 0; s < 3; s++)
        for (emr::tensor tensor : (s ? t.models[s - 1] : t.base).tensors()) {
            std::vector<std::byte> more(tensor.bytes());
            MUST(tensor.read(0, more));
            bytes[s].insert(bytes[s].end(), more.begin(), more.end());
        }
    CHECK(MUST(merge.get_expected(EMR_BASE)).tensor.name() == "layer");
    while (left) {
        left = 0;
        for (std::size_t s = 0; s < 3; s++) {
            const std::size_t n = std::min<std::size_t>(1000, bytes[s].size() - pushed[s]);
            const std::uint32_t source = s ? static_cast<std::uint32_t>(s - 1) : EMR_BASE;
            pushed[s] += MUST(merge.push(source, {bytes[s].data() + pushed[s], n}));
            left += bytes[s].size() - pushed[s];
        }
    }
    CHECK(!MUST(merge.get_expected(EMR_BASE)).tensor);
    MUST(merge.finish());
}

static emr::model described(const emr::model &like)
{
    emr::model model = MUST(emr::model::create());
    for (emr::tensor t : like.tensors())
        MUST(model.add(emr::tensor_desc(t.name().c_str(), t.dtype(), t.shape())));
    return model;
}

static void test_push_and_sink()
{
    const toy t = toy::make();
    const emr::model sources[] = {described(t.base), described(t.models[0]), described(t.models[1])};
    for (bool fail : {false, true}) {
        taken_parts parts;
        parts.fail = fail;
        const emr::sink sink(parts);
        CHECK(sink.unified && sink.mask && !sink.rescalers);
        emr::merge merge = MUST(emr::merge::create());
        MUST(merge.set_base(sources[0]));
        MUST(merge.add_task("french", sources[1]));
        MUST(merge.add_task("german", sources[2]));
        MUST(merge.set_sink(sink));
        if (fail) {
            emr::merge pulled = MUST(emr::merge::create());
            MUST(pulled.set_base(t.base));
            MUST(pulled.add_task("french", t.models[0]));
            MUST(pulled.set_sink(sink));
            const auto failed = emr::attempt([&] { return pulled.run(); });
            CHECK(failed.status() == EMR_EIO && says(failed, "the drain is clogged"));
            continue;
        }
        push_all(merge, t);
        std::vector<float> expected(toy::rows * toy::columns);
        MUST(MUST(t.bundle.open_unified()).find_tensor("layer").read_floats(0, expected));
        CHECK(parts.n_masks > 0 && parts.unified_values.size() == expected.size() + toy::rows &&
              std::equal(expected.begin(), expected.end(), parts.unified_values.begin()));
    }
}

// ------------------------------------------------------------------------------------- modulators and sessions

static void test_modulators()
{
    const toy t = toy::make();
    emr::modulator french = MUST(t.bundle.open_modulator(0)), german = MUST(t.bundle.open_modulator(1));
    const std::uint32_t layer = MUST(french.find_tensor("layer"));
    CHECK(french.n_tensors() == 2 && *french.tensor_name(layer) == "layer" && !french.tensor_name(2));
    CHECK(french.tensor_count(layer) == t.layer.size() && french.n_rescalers(layer) == 1);
    CHECK(emr::attempt([&] { return french.find_tensor("x"); }).status() == EMR_ENOTFOUND);
    float rescaler[1];
    MUST(french.read_rescalers(layer, 0, rescaler));
    CHECK(rescaler[0] > 0 && MUST(french.get_stats(layer)).count == t.layer.size());
    std::vector<float> weights(t.layer.size());
    MUST(french.apply({layer, t.layer, weights}));
    CHECK(weights == t.expected(0, "layer"));

    std::vector<float> x(2 * toy::columns, 0.5f), y(2 * toy::rows), alone(toy::rows);
    MUST(multiply(t, {french.get(), german.get()}, {layer, toy::rows, x, y}));
    MUST(multiply(t, {german.get()}, {layer, toy::rows, x, alone}));
    CHECK(std::equal(alone.begin(), alone.end(), y.begin() + toy::rows));

    // over the host's memory
    const std::uint8_t ones[] = {0xff};
    const float unified[4] = {1, 2, 3, 4}, base[4] = {}, two[] = {2};
    emr::modulator own = MUST(emr::modulator::create());
    emr::modulation m;
    m.name = "w";
    m.unified = unified;
    m.unified_dtype = EMR_DTYPE_F32;
    m.mask = ones;
    m.count = 4;
    m.rescalers = two;
    m.n_rescalers = 1;
    MUST(own.add(m));
    float out[4];
    MUST(own.apply({0, base, out}));
    CHECK(out[0] == 2 && out[3] == 8);
}

static void test_sessions()
{
    const toy t = toy::make();
    emr::session session = MUST(emr::session::create(t.bundle, t.base));
    std::vector<float> layer(t.layer.size()), bias(toy::rows);
    MUST(session.apply(1, {{"layer", layer}, {"bias", bias}}));
    CHECK(layer == t.expected(1, "layer") && bias == t.expected(1, "bias"));
    MUST(session.apply(EMR_BASE, {{"layer", layer}}));
    CHECK(layer == t.layer);
    const auto none = emr::attempt([&] { return session.apply(0, {{"head", layer}}); });
    CHECK(none.status() == EMR_ENOTFOUND && none.error().tensor() == "head");

    std::vector<float> x(3 * toy::columns), y(3 * toy::rows), alone(toy::rows);
    for (std::size_t i = 0; i < x.size(); i++)
        x[i] = static_cast<float>(i % 13) - 6;
    const std::vector<std::uint32_t> tasks = {1, EMR_BASE, 0};
    const emr::product all(MUST(t.bundle.find_tensor("layer")), toy::rows, x, y);
    const std::size_t allocated = n_news;
    MUST(session.multiply(tasks, all));
    MUST(session.multiply(
        {0}, {"layer", toy::rows, emr::list<float>(x.data() + 2 * toy::columns, toy::columns), alone}));
    MUST(session.apply(0, {{"layer", layer}}));
    CHECK(n_news == allocated);
    CHECK(std::equal(alone.begin(), alone.end(), y.begin() + 2 * toy::rows));
    emr::product other = all;
    other.batch = 2;
    CHECK(emr::attempt([&] { return session.multiply(tasks, other); }).status() == EMR_EINVAL);
    CHECK(MUST(session.get_info()).memory_bytes > 0);

    emr::session_options small;
    small.resources.memory_bytes = 1;
    CHECK(emr::attempt([&] { return emr::session::create(t.bundle, t.base, small); }).status() == EMR_ELIMIT);
}

static void test_threads()
{
    const toy t = toy::make();
    std::atomic<int> waited{0};
    auto wait = [&] {
        waited++;
        std::this_thread::yield();
    };
    emr::session_options options;
    options.wait_with(wait);
    emr::session session = MUST(emr::session::create(t.bundle, t.base, options));
    std::vector<float> x(2 * toy::columns, 0.25f), y(2 * toy::rows), expected(2 * toy::rows);
    MUST(session.multiply({0, 1}, {"layer", toy::rows, x, expected}));
    std::vector<emr::session> handles;
    for (int i = 0; i < 3; i++)
        handles.push_back(MUST(session.open_thread()));
    std::vector<std::thread> threads;
    std::atomic<int> failed{0};
    for (std::size_t i = 0; i < 3; i++)
        threads.emplace_back([&, i] {
            emr::product share("layer", toy::rows / 3, x, y);
            share.first_row = i * share.n_rows;
            share.y += share.first_row;
            share.y_stride = toy::rows;
            failed += !emr::attempt([&] { return handles[i].multiply({0, 1}, share); });
        });
    for (std::thread &thread : threads)
        thread.join();
    CHECK(failed == 0 && y == expected);
}

static void test_gather()
{
    const toy t = toy::make();
    emr::session session = MUST(emr::session::create(t.bundle, t.base));
    std::vector<float> out(3 * toy::columns), bias(2 * toy::rows);
    MUST(session.gather({0, EMR_BASE, 1}, {2, 5, 2}, {"layer", out}));
    const std::vector<float> french = t.expected(0, "layer"), german = t.expected(1, "layer");
    for (std::size_t c = 0; c < toy::columns; c++)
        CHECK(out[c] == french[2 * toy::columns + c] &&
              out[toy::columns + c] == t.layer[5 * toy::columns + c] &&
              out[2 * toy::columns + c] == german[2 * toy::columns + c]);
    MUST(session.apply(1, {{MUST(t.bundle.find_tensor("bias")), bias.data(), EMR_DTYPE_F32}}));
    MUST(session.gather({1, 0}, {}, {"bias", bias}));
    CHECK(std::equal(bias.begin() + toy::rows, bias.end(), t.expected(0, "bias").begin()));
    std::vector<std::uint64_t> none(2, 1000);
    none.clear(); // there is memory, but no rows
    std::fill(bias.begin(), bias.end(), 0.f);
    MUST(session.gather({1, 0}, none, {"bias", bias}));
    CHECK(std::equal(bias.begin() + toy::rows, bias.end(), t.expected(0, "bias").begin()));
    CHECK(emr::attempt([&] { return session.gather({1, 0}, {3}, {"layer", out}); }).status() == EMR_EINVAL);
}

static void test_staging()
{
    const toy t = toy::make();
    emr::session session = MUST(emr::session::create(t.bundle, t.base));
    std::vector<float> staging(11), device(t.layer.size());
    emr::weights_writer copy([&](const emr::weights_part &part) {
        std::memcpy(&device[part.first], part.data, part.count * sizeof(float));
    });
    emr::weights w("layer");
    w.write_to(copy, staging);
    MUST(session.apply(0, {w}));
    CHECK(device == t.expected(0, "layer"));
    emr::weights_writer refuse([](const emr::weights_part &) { return EMR_ELIMIT; });
    w.write_to(refuse, staging.data(), 11, EMR_DTYPE_F32);
    const auto refused = emr::attempt([&] { return session.apply(0, {w}); });
    CHECK(refused.status() == EMR_ELIMIT && refused.error().tensor() == "layer");
#if TEST_EXCEPTIONS
    struct device_lost {
        std::uint64_t at;
    };
    emr::weights_writer raise([](const emr::weights_part &part) {
        if (part.first >= 22)
            throw device_lost{part.first};
    });
    w.write_to(raise, staging);
    for (int i = 0; i < 2; i++) // it leaves no trace
        try {
            session.apply(0, {w});
            CHECK(false);
        } catch (const device_lost &lost) {
            CHECK(lost.at == 22);
        }
#endif
    MUST(session.apply(1, {{"layer", device}}));
    CHECK(device == t.expected(1, "layer"));
}

static void test_without_base()
{
    const toy t = toy::make();
    emr::session_options options;
    options.without_base = 1;
    emr::session session = MUST(emr::session::create(t.bundle, nullptr, options));
    std::vector<float> change(t.layer.size());
    emr::weights w("layer", change);
    w.without_base = 1;
    MUST(session.apply(0, {w}));
    const std::vector<float> french = t.expected(0, "layer");
    for (std::size_t i = 0; i < change.size(); i++)
        CHECK(t.layer[i] + change[i] == french[i]);
    CHECK(emr::attempt([&] { return session.apply(0, {{"layer", change}}); }).status() == EMR_ESTATE);
}

// Scores are lengths of names; the parents' are added up.
struct searcher {
    const emr::search *search;
    int released = 0;
    bool fails = false;

    void merge(const emr_search_candidate &made)
    {
        CHECK(MUST(search->get_candidate(made.number)).first == made.first);
    }
    emr::result<double> evaluate(const emr_search_candidate &c)
    {
        if (fails)
            return emr::failure(EMR_ECANCELED, "no more");
        return c.generation == 0 ? double(std::strlen(c.name)) : c.kinship;
    }
    double similarity(std::uint32_t a, std::uint32_t b)
    {
        return a + 10.0 * b;
    }
    void release(std::uint32_t)
    {
        released++;
    }
};

static void test_searches()
{
    emr::search_options options;
    options.partner = EMR_SEARCH_PARTNER_NONE;
    options.k = 2;
    for (int round = 0; round < 2; round++) {
        emr::search search = MUST(emr::search::create(options));
        searcher object{&search};
        object.fails = round == 1;
        const emr::search_host host(object);
        for (const char *name : {"a", "bb", "ccc"})
            MUST(search.add_model(name));
        CHECK(emr::attempt([&] { return search.get_result(); }).status() == EMR_ESTATE);
        const auto ran = emr::attempt([&] { return search.run(host); });
        CHECK(ran.status() == (object.fails ? EMR_ECANCELED : EMR_OK));
        if (object.fails)
            continue;
        const emr::search_result result = MUST(search.get_result());
        CHECK(result.end == EMR_SEARCH_END_STEADY || result.end == EMR_SEARCH_END_GENERATIONS);
        CHECK(object.released > 0 && MUST(search.get_candidate(result.best)).score == result.score);
    }
}

static void test_statistics()
{
    const float base_weights[] = {0, 0, 0, 0}, weights[] = {1, -2, 0, 2}, others[] = {1, 2, 0, 2};
    const double fractions[] = {0.5};
    double matrix[4];
    emr::model base = MUST(emr::model::create()), one = MUST(emr::model::create()),
               other = MUST(emr::model::create());
    MUST(base.add("w", {4}, base_weights));
    MUST(one.add("w", {4}, weights));
    MUST(other.add("w", {4}, others));
    emr::statistics_options options;
    options.set_quantiles(fractions);
    emr::statistics statistics = MUST(emr::statistics::create(options));
    MUST(statistics.set_base(base));
    MUST(statistics.add_task("one", one));
    MUST(statistics.add_task("other", other));
    CHECK(MUST(statistics.get_plan()).params == 4 && statistics.n_groups(EMR_STATISTICS_SCOPE_TENSOR) == 0);
    MUST(statistics.run());
    const emr::statistics_group group = MUST(statistics.get_group(EMR_STATISTICS_SCOPE_MODEL));
    CHECK(group.products[1] == 1 && group.conflicts == 1 && group.quantiles[0] == 1);
    CHECK(MUST(emr::get_moments(group, 0)).norm == 3);
    emr::kinship_options cosine;
    cosine.metric = EMR_KINSHIP_METRIC_COSINE;
    MUST(emr::kinship(group, matrix, cosine));
    CHECK(emr::kinship_mean(matrix, 2) == matrix[1] && matrix[0] == 1);
    CHECK(emr::layer_of("h.7.attn.c_attn.weight") == 7 &&
          std::string(emr::kind_of("h.7.attn.c_attn.weight")) == "qkv");
    MUST(statistics.split_kinship(matrix, cosine));
    CHECK(emr::kinship_mean(matrix, 2) == matrix[2]);
}

static void test_trials()
{
    emr::trials_options options;
    double values[2], largest = 0;
    auto first_value = [&](const emr_trial &trial) {
        emr::trial_draw(7, trial.number, values);
        CHECK(values[0] == trial.values[0] && values[1] == trial.values[1]);
        largest = largest < values[0] ? values[0] : largest;
        return trial.values[0];
    };
    options.evaluate_with(first_value);
    options.seed = 7;
    options.n_values = 2;
    options.n_trials = 20;
    const emr::trial best = MUST(emr::trials_run(options));
    CHECK(best.score == largest);
}

int main()
{
    test_spans();
    test_errors();
    test_failed_calls();
    test_owners();
    test_structs();
    test_numbers();
    test_allocators();
    test_executor();
    test_progress();
    test_io();
    test_models();
    test_computed();
    test_heads();
    test_checkpoints();
    test_adapters();
    test_bundles();
    test_merges();
    test_combinations();
    test_push_and_sink();
    test_modulators();
    test_sessions();
    test_threads();
    test_gather();
    test_staging();
    test_without_base();
    test_blocks();
    test_searches();
    test_statistics();
    test_trials();
    return report();
}
