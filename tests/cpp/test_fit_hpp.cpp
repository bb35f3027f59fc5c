// test_fit_hpp.cpp - fit.hpp, in whatever mode it is compiled: a network and its twin with other units in front, matched, aligned and
// merged in every way. MUST and CHECK are test_hpp.h's.
#include "test_hpp.h"

#include <emr/fit/fit.hpp>

#include <cmath>

static_assert(std::is_same<emr::match_options, emr::detail::fit_options<emr_match_options>>::value, "");
static_assert(!std::is_copy_constructible<emr::gram>::value && std::is_move_constructible<emr::gram>::value,
              "");

// fc0 [3, 2] and fc1 [1, 3]: `order` says which unit of ours is whose.
struct network {
    std::vector<float> first, bias, second;
    emr::model model;

    static network make(const std::vector<std::uint32_t> &order)
    {
        static const float weights[3][2] = {{1, 2}, {-3, 1}, {0.5f, -4}}, biases[3] = {0.25f, -1, 2},
                           readers[3] = {2, -1, 3};
        network n;
        for (std::uint32_t unit : order) {
            n.first.insert(n.first.end(), {weights[unit][0], weights[unit][1]});
            n.bias.push_back(biases[unit]);
            n.second.push_back(readers[unit]);
        }
        n.model = MUST(emr::model::create());
        MUST(n.model.add("fc0.weight", {3, 2}, n.first));
        MUST(n.model.add("fc0.bias", {3}, n.bias));
        MUST(n.model.add("fc1.weight", {1, 3}, n.second));
        return n;
    }

    // max(0, W x + b)
    std::vector<float> hidden_of(const std::vector<float> &x) const
    {
        std::vector<float> h;
        for (std::size_t i = 0; i < 3; i++)
            h.push_back(std::max(0.0f, bias[i] + first[2 * i] * x[0] + first[2 * i + 1] * x[1]));
        return h;
    }
};

struct twins {
    network a = network::make({0, 1, 2}), b = network::make({2, 0, 1});
    emr::permutation_spec spec = MUST(emr::permutation_spec::derive(a.model));
    emr::gram both, own[2];
};

static std::vector<float> values_of(const emr::model &model, const char *name)
{
    std::vector<float> values(model.find_tensor(name).count());
    MUST(model.find_tensor(name).read_floats(0, values));
    return values;
}

static bool is_near(const std::vector<float> &a, const std::vector<float> &b)
{
    for (std::size_t i = 0; i < a.size(); i++)
        if (!(std::fabs(a[i] - b[i]) < 1e-5f))
            return false;
    return a.size() == b.size() && !a.empty();
}

static void test_grams(twins &t)
{
    emr::gram_options options;
    options.n_models = 2;
    t.both = MUST(emr::gram::create(options));
    t.own[0] = MUST(emr::gram::create());
    t.own[1] = MUST(emr::gram::create());
    const std::uint32_t site = MUST(t.both.add_site("fc1", {3, 3})),
                        input = MUST(t.both.add_site("fc0", {2, 2}));
    for (emr::gram &gram : t.own) {
        MUST(gram.add_site("fc1", {3}));
        MUST(gram.add_site("fc0", {2}));
    }
    unsigned seed = 7;
    for (int row = 0; row < 40; row++) {
        std::vector<float> x(2);
        for (float &value : x) {
            seed = seed * 1664525u + 1013904223u;
            value = static_cast<float>(seed >> 8) / (1 << 23) - 1;
        }
        const std::vector<float> h[] = {t.a.hidden_of(x), t.b.hidden_of(x)};
        MUST(t.both.feed(site, {h[0], h[1]}, 1));
        MUST(t.both.feed(input, {x, x}, 1, {1}));
        MUST(t.both.feed(input, {x, x}, 1, {0}));
        for (std::size_t m = 0; m < 2; m++) {
            MUST(t.own[m].feed(0, {h[m]}, 1));
            MUST(t.own[m].feed(1, {x}, 1));
        }
    }
    const std::vector<float> two(4);
    CHECK(says(emr::attempt([&] { return t.both.feed(input, {two, two}, 2, {1}); }), "keep"));
    CHECK(t.both.n_sites() == 2 && MUST(t.both.find_site("fc0")) == input);
    CHECK(MUST(t.both.get_site(input)).n_rows == 40 && t.both.value(input, 4, 4) == 40);
    CHECK(emr::gram_bytes({3, 3}) == MUST(t.both.get_site(site)).bytes);

    const emr::model saved = MUST(t.both.open_model());
    emr::gram again = MUST(emr::gram::open(saved));
    CHECK(again.value(site, 1, 4) == t.both.value(site, 1, 4));
    MUST(again.add(t.both));
    CHECK(again.value(site, 6, 6) == 80);

    double mean[1], variance[1], none[2];
    const emr::tensor weight = t.a.model.find_tensor("fc1.weight");
    MUST(t.own[0].output_moments(0, 0, weight, {}, mean, variance));
    CHECK(std::isfinite(mean[0]) && variance[0] > 0);
    CHECK(
        says(emr::attempt([&] { return t.own[0].output_moments(0, 0, weight, {}, none, none); }), "as many"));
}

static void test_permutations(const twins &t)
{
    CHECK(t.spec.n_groups() == 1 && t.spec.n_layers() == 2 && MUST(t.spec.get_group(0)).n_units == 3);
    CHECK(std::string(MUST(t.spec.get_layer(1)).weight) == "fc1.weight");
    MUST(t.spec.check(t.b.model));
    emr::buffer text = MUST(emr::buffer::create());
    MUST(t.spec.write(text.io()));
    const auto bytes = text.contents();
    const emr::permutation_spec parsed =
        MUST(emr::permutation_spec::parse({reinterpret_cast<const char *>(bytes.data()), bytes.size()}));
    CHECK(parsed.n_layers() == 2);
    CHECK(emr::attempt([] { return emr::permutation_spec::parse("{}"); }).status() == EMR_EFORMAT);

    emr::permutation p = MUST(emr::permutation::create(t.spec)),
                     other = MUST(emr::permutation::create(t.spec));
    MUST(p.set_units("hidden.0", {1, 2, 0}));
    CHECK(p.units("hidden.0")[0] == 1 && !p.units("none"));
    CHECK(emr::attempt([&] { return p.get_heads("hidden.0"); }).status() == EMR_ENOTFOUND);
    CHECK(emr::attempt([&] { return p.set_heads("hidden.0", emr::head_units()); }).status() < 0);
    const emr::permutation same = MUST(p.compose(MUST(p.invert())));
    CHECK(same.units("hidden.0")[0] == 0 && same.units("hidden.0")[2] == 2);
    MUST(other.read_indices(MUST(p.open_indices())));
    CHECK(other.units("hidden.0")[2] == 0);
    CHECK(is_near(values_of(MUST(p.open_model(t.b.model)), "fc0.bias"), t.a.bias));
}

static void test_merging(const twins &t)
{
    const double similarity[] = {1, 5, 3, 1};
    std::uint32_t columns[2];
    MUST(emr::assign(similarity, columns));
    CHECK(columns[0] == 1 && columns[1] == 0);
    CHECK(says(emr::attempt([&] { return emr::assign({similarity, 3}, columns); }), "rows"));

    emr::match_options matching;
    emr::match_report report;
    matching.space = EMR_MATCH_SPACE_BOTH;
    matching.gram = t.both.get();
    const emr::permutation found = MUST(emr::match(t.spec, t.a.model, t.b.model, matching, &report));
    CHECK(found.units("hidden.0")[0] == 1 && report.n_groups == 1);

    emr::pleas_options pleas;
    pleas.permutation = found.get();
    pleas.gram = t.both.get();
    CHECK(is_near(values_of(MUST(emr::pleas_open_model(t.spec, t.a.model, t.b.model, pleas)), "fc1.weight"),
                  t.a.second));
    emr::pleas_width apart;
    apart.group = "hidden.0";
    pleas.widths = &apart;
    pleas.n_widths = 1;
    CHECK(MUST(emr::pleas_open_model(t.spec, t.a.model, t.b.model, pleas)).find_tensor("fc0.bias").count() ==
          6);

    const emr_model *const models[] = {t.a.model.get(), t.b.model.get()}, *const equal[] = {models[0],
                                                                                            models[0]};
    emr::zip_options zipping;
    zipping.models = models;
    zipping.n_models = 2;
    const emr::model zipped = MUST(emr::zip_open_model(t.spec, zipping, &report));
    CHECK(is_near(values_of(zipped, "fc0.bias"), t.a.bias) && report.n_rounds > 0);

    const emr_gram *const grams[] = {t.own[0].get(), t.own[0].get()};
    emr::fit_layer layer = MUST(t.spec.get_layer(1));
    emr::regmean_options regmean;
    regmean.models = equal;
    regmean.grams = grams;
    regmean.n_models = 2;
    regmean.layers = &layer;
    regmean.n_layers = 1;
    CHECK(is_near(values_of(MUST(emr::regmean_open_model(regmean)), "fc1.weight"), t.a.second));

    emr::spectral_options spectral; // LAPACK or not
    spectral.base = t.a.model.get();
    CHECK(says(emr::attempt([&] { return emr::spectral_open_model(spectral); }), "required"));
}

int main()
{
    twins t;
    test_grams(t);
    test_permutations(t);
    test_merging(t);
    return report();
}
