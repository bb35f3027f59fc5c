// test_hpp.h - checks, and a base with two tasks and the bundle that they make. Calls are written once for
// both modes of emr.hpp: MUST(call) is its value.
#ifndef EMR_TEST_HPP_H
#define EMR_TEST_HPP_H

#include <emr/emr.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

inline int n_checks = 0, n_failed = 0;

inline void check(bool holds, const char *what, int line)
{
    n_checks++;
    if (!holds) {
        n_failed++;
        std::fprintf(stderr, "line %d: %s\n", line, what);
    }
}

#define CHECK(...) check(static_cast<bool>(__VA_ARGS__), #__VA_ARGS__, __LINE__)
#define MUST(...)  must(emr::attempt([&] { return __VA_ARGS__; }), #__VA_ARGS__, __LINE__)

template <class R> auto must(R &&result, const char *what, int line)
{
    if (!result) {
        std::fprintf(stderr, "line %d: %s: %s\n", line, what, result.error().text());
        std::exit(EXIT_FAILURE);
    }
    if constexpr (!std::is_void<typename std::decay_t<R>::value_type>::value)
        return std::move(result).value();
}

inline int report()
{
    std::printf("%d checks, %d failed\n", n_checks, n_failed);
    return n_failed || !n_checks ? EXIT_FAILURE : EXIT_SUCCESS;
}

// How often `new` was called.
extern std::size_t n_news;

template <class R> bool says(const R &result, const char *words)
{
    return !result && std::strstr(result.error().text(), words);
}

// Where this process may write.
inline std::string own_path(const char *name)
{
    const char *folder = std::getenv("TMPDIR");
    return std::string(folder ? folder : "/tmp") + "/emr-hpp-" +
           std::to_string(reinterpret_cast<std::uintptr_t>(&n_news)) + "-" + name;
}

struct toy {
    static constexpr std::size_t rows = 24, columns = 70;

    std::vector<float> layer, bias;
    std::vector<std::vector<float>> tuned; // layer and bias of either task
    emr::model base;
    std::vector<emr::model> models;
    emr::buffer file;
    emr::bundle bundle;

    static toy make(const emr::merge_options &options = {})
    {
        toy t;
        t.layer = values(1, rows * columns, 1);
        t.bias = values(2, rows, 1);
        t.base = over(t.layer, t.bias);
        for (unsigned i = 0; i < 2; i++) {
            for (const std::vector<float> *of : {&t.layer, &t.bias}) {
                t.tuned.push_back(values(10 + i, of->size(), 0.125f));
                for (std::size_t k = 0; k < of->size(); k++)
                    t.tuned.back()[k] += (*of)[k];
            }
            t.models.push_back(over(t.tuned[2 * i], t.tuned[2 * i + 1]));
            MUST(t.models[i].set_metadata("language", i ? "german" : "french"));
        }
        emr::merge merge = MUST(emr::merge::create(options));
        MUST(merge.set_base(t.base));
        MUST(merge.add_task("french", t.models[0]));
        MUST(merge.add_task("german", t.models[1]));
        t.file = MUST(emr::buffer::create());
        MUST(merge.set_output(t.file.io()));
        MUST(merge.run());
        t.bundle = MUST(emr::bundle::open(t.file.io(), "toy.emr"));
        return t;
    }

    const emr_io *file_io() const
    {
        return &file.io();
    }

    bool same_as(const toy &other) const
    {
        const auto a = file.contents(), b = other.file.contents();
        return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin());
    }

    // A task's weights, as its checkpoint would have them.
    std::vector<float> expected(std::uint32_t task, const char *name) const
    {
        const emr::model model = MUST(bundle.open_task(task, base));
        std::vector<float> weights(model.find_tensor(name).count());
        MUST(model.find_tensor(name).read_floats(0, weights));
        return weights;
    }

  private:
    // Pseudo-random.
    static std::vector<float> values(unsigned seed, std::size_t n, float scale)
    {
        std::vector<float> v(n);
        for (float &value : v) {
            seed = seed * 1664525u + 1013904223u;
            value = (static_cast<float>(seed >> 8) / (1 << 24) - 0.5f) * scale;
        }
        return v;
    }
    static emr::model over(const std::vector<float> &layer, const std::vector<float> &bias)
    {
        emr::model model = MUST(emr::model::create());
        MUST(model.add("layer", {rows, columns}, layer));
        MUST(model.add("bias", {rows}, bias));
        return model;
    }
};

// A product of the toy's layer.
inline auto multiply(const toy &t, std::vector<emr_modulator *> modulators, emr::product product)
{
    product.n_columns = toy::columns;
    return emr::modulator_multiply(modulators, product, EMR_DTYPE_F32, t.layer.data());
}

#endif
