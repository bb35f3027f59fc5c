// test_fit_hpp.cpp - fit.hpp, in whatever mode it is compiled: a network and its twin with other units in front, matched, aligned and
// merged in every way; and what learns, each of it on a problem whose answer is known. MUST and CHECK are test_hpp.h's.
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

static void test_losses()
{
    const std::vector<float> z = {1, 1, 1, 5, 5, 5};
    std::vector<float> gradient(6, 7), none;
    CHECK(std::fabs(MUST(emr::entropy({z, 3}, gradient)) - std::log(3.0)) < 1e-9);
    CHECK(std::fabs(gradient[0]) < 1e-6f && std::fabs(gradient[5]) < 1e-6f);
    CHECK(std::fabs(MUST(emr::cross_entropy({z, 3}, {0, 2})) - std::log(3.0)) < 1e-9);
    CHECK(MUST(emr::l1({1, 2, 3, 4}, {0, 2, 3, 8}, 1, 2)) == 1.25);
    std::vector<float> added(4, 1);
    CHECK(MUST(emr::l1({1, 2, 3, 4}, {0, 2, 3, 8}, 1, 2, added, true)) == 1.25 && added[0] == 1.25f &&
          added[3] == 0.75f);
    CHECK(says(emr::attempt([&] { return emr::entropy({z, 4}); }), "row"));
    CHECK(says(emr::attempt([&] { return emr::entropy({z, 3}, {gradient.data(), 5}); }), "gradient"));
    CHECK(says(emr::attempt([&] { return emr::cross_entropy({z, 3}, {0}); }), "labels"));
    CHECK(says(emr::attempt([&] { return emr::l1({1, 2, 3}, {1, 2, 3}, 2, 1); }), "n_tokens"));
    emr::logits wide({z.data(), 5}, 5);
    wide.n_columns = 2;
    wide.n_rows = 2;
    wide.row_stride = 3;
    CHECK(MUST(emr::entropy(wide, {gradient.data(), 5})) > 0);
    CHECK(!emr::attempt([&] { return emr::entropy(wide, {gradient.data(), 4}); }));
}

// The loss is half the squared distance of the merged weights to base + 0.7 tau, which the gradient leads to.
static void test_coefficients()
{
    const std::vector<float> zero(4), one = {1, 0, 0, 0}, two = {0, 1, 0, 2};
    emr::model base = MUST(emr::model::create()),
               tasks[] = {MUST(emr::model::create()), MUST(emr::model::create())};
    MUST(base.add("w", {4}, zero));
    MUST(tasks[0].add("w", {4}, one));
    MUST(tasks[1].add("w", {4}, two));
    const emr_model *const models[] = {tasks[0].get(), tasks[1].get()};
    const char *const names[] = {"one", "two"};
    emr::adam adam;
    adam.lr = 0.05;
    emr::coefficients_options options;
    options.base = base.get();
    options.tasks = models;
    options.names = names;
    options.n_tasks = 2;
    options.adam = &adam;
    emr::coefficients c = MUST(emr::coefficients::create(options)),
                      again = MUST(emr::coefficients::create(options));
    CHECK(c.n_tasks() == 2 && c.n_groups() == 1 && std::string(c.group(0)) == "w" && !c.group(1));
    CHECK(MUST(c.find_group("w")) == 0);
    CHECK(emr::attempt([&] { return c.find_group("v"); }).status() == EMR_ENOTFOUND);
    MUST(c.set(0, 0, 0.1));
    std::vector<float> merged(4), slope(4);
    emr::coefficients_report report;
    for (int step = 0; step < 400; step++) {
        MUST(c.apply({emr::weights("w", merged)}));
        for (std::size_t i = 0; i < 4; i++)
            slope[i] = merged[i] - 0.7f * (one[i] + two[i]);
        MUST(c.gradient("w", 0, slope));
        report = MUST(c.step());
    }
    CHECK(report.n_steps == 400 && report.n_moved == 2 && !report.n_stuck);
    for (std::uint32_t task = 0; task < 2; task++)
        CHECK(std::fabs(MUST(c.get_coefficient(task, 0)).lambda - 0.7) < 1e-3);
    MUST(c.apply({emr::weights("w", merged)}));
    CHECK(values_of(MUST(c.open_model()), "w") == merged && std::fabs(merged[3] - 1.4f) < 1e-2f);
    MUST(again.set_state(MUST(c.open_state())));
    CHECK(MUST(again.get_coefficient(1, 0)).raw == MUST(c.get_coefficient(1, 0)).raw);
    MUST(again.gradient("w", 0, 4, EMR_DTYPE_F32, slope.data()));
    again.clear();
    CHECK(emr::attempt([&] { return again.step(); }).status() == EMR_ESTATE);
    int calls = 0;
    emr::weights_writer refusing([&](const emr::weights_part &) { return ++calls, false; });
    emr::weights through("w");
    through.write_to(refusing, merged);
    CHECK(!emr::attempt([&] { return c.apply({through}); }) && calls);
}

// Features that are off by something constant are brought back.
static void test_surgery()
{
    std::vector<float> x, z;
    for (int i = 0; i < 64; i++) {
        const float a = static_cast<float>(i % 8) / 8, b = static_cast<float>(i / 8) / 8;
        x.insert(x.end(), {a + 0.5f, b + 0.5f, 1});
        z.insert(z.end(), {a, b, 1});
    }
    emr::adam adam;
    adam.lr = 0.01;
    emr::surgery_options options;
    options.width = 3;
    options.rank = 8;
    options.adam = &adam;
    emr::surgery adapter = MUST(emr::surgery::create(options));
    CHECK(adapter.width() == 3 && adapter.rank() == 8);
    emr::surgery_fit_options steps;
    steps.n_steps = 300;
    const emr::surgery_report report = MUST(adapter.fit(x, z, steps));
    CHECK(report.n_steps == 300 && report.loss_after < report.loss_before / 4);
    CHECK(std::fabs(MUST(adapter.train(x, z)) - report.loss_after) < 1e-6);

    std::vector<float> y(x.size()), gradient(x.size(), 0), dx(x.size());
    MUST(adapter.apply(x, y));
    MUST(emr::l1(y, z, 1, 3, gradient));
    MUST(adapter.backward(x, gradient, dx));
    MUST(adapter.step());
    CHECK(emr::attempt([&] { return adapter.step(); }).status() == EMR_ESTATE);
    CHECK(says(emr::attempt([&] { return adapter.apply({1, 2}, {y.data(), 2}); }), "width"));
    CHECK(says(emr::attempt([&] { return adapter.train(x, {1, 2, 3}); }), "as many"));
    CHECK(says(emr::attempt([&] { return adapter.fit({1}, {1}); }), "width"));
    CHECK(says(emr::attempt([&] { return adapter.backward(x, x, {y.data(), 3}); }), "as many"));

    const emr::model saved = MUST(emr::surgery_open_model({adapter.get()}, {"task.final"}));
    CHECK(says(emr::attempt([&] { return emr::surgery_open_model({adapter.get()}, {}); }), "places"));
    const emr::surgery opened = MUST(emr::surgery::open(saved, "task.final"));
    std::vector<float> other(x.size()), scratch(8);
    MUST(adapter.apply(x, y));
    MUST(opened.apply(x, other));
    CHECK(y == other);
    const std::vector<float> down = values_of(saved, "task.final.down.weight"),
                             up = values_of(saved, "task.final.up.weight");
    emr::surgery_weights weights;
    weights.down = down.data();
    weights.up = up.data();
    weights.width = 3;
    weights.rank = 8;
    other = x;
    MUST(emr::surgery_apply_weights(weights, other, other, scratch));
    CHECK(y == other);
    CHECK(!emr::attempt([&] { return emr::surgery_apply_weights(weights, x, other, {scratch.data(), 7}); }));
}

// Of two sources one is right where x[0] is 1, the other where x[1] is.
static void test_ensemble()
{
    std::vector<float> x, values;
    std::vector<std::uint32_t> labels;
    for (std::uint32_t i = 0; i < 40; i++) {
        const std::uint32_t able = i % 2, label = i / 2 % 2;
        x.insert(x.end(), {able ? 0.0f : 1.0f, able ? 1.0f : 0.0f});
        for (std::uint32_t source = 0; source < 2; source++) {
            const float sure = source == able ? 3.0f : -2.0f, mark = source ? 8.0f : -8.0f;
            values.insert(values.end(), {label ? -sure : sure, label ? sure : -sure, mark});
        }
        labels.push_back(label);
    }
    emr::adam adam;
    adam.lr = 0.02;
    emr::ensemble_options options;
    options.x_width = 2;
    options.key_width = 3;
    options.adam = &adam;
    emr::ensemble ensemble = MUST(emr::ensemble::create(options));
    emr::ensemble_batch batch;
    batch.x = x.data();
    batch.values = values.data();
    batch.labels = labels.data();
    batch.n = 40;
    batch.n_sources = 2;
    batch.n_columns = 3;
    CHECK(MUST(ensemble.train(batch)) > 0);
    emr::ensemble_fit_options steps;
    steps.n_steps = 200;
    const emr::ensemble_report report = MUST(ensemble.fit(batch, steps));
    CHECK(report.n_steps > 0 && report.loss_after < report.loss_before);

    std::vector<float> weights(80), out(120), again(120), evenly(120);
    MUST(ensemble.combine(batch, weights, out));
    CHECK(std::fabs(weights[0] + weights[1] - 1) < 1e-6f);
    const emr::ensemble opened = MUST(emr::ensemble::open(MUST(ensemble.open_model())));
    MUST(opened.combine(batch, {}, again));
    CHECK(out == again);
    MUST(emr::ensemble::combine_evenly(batch, evenly));
    CHECK(std::fabs(evenly[0] - 0.5f) < 1e-6f);
    CHECK(says(emr::attempt([&] { return ensemble.combine(batch, {weights.data(), 79}, {}); }), "as many"));
    CHECK(says(emr::attempt([&] { return emr::ensemble::combine_evenly(batch, weights); }), "as many"));

    std::vector<std::uint32_t> answers(40);
    MUST(emr::ensemble::vote(batch, answers));
    CHECK(answers[0] < 3);
    CHECK(says(emr::attempt([&] { return emr::ensemble::vote(batch, {answers.data(), 39}); }), "as many"));
    for (std::uint32_t i = 0; i < 80; i++)
        values[3 * i + 2] = -9; // the third answer is nobody's
    const auto best = MUST(emr::ensemble::best_source(batch));
    CHECK(best.source == 0 && best.n_right == 20);

    std::vector<float> pooled(2);
    MUST(emr::ensemble::pool({1, 5, 4, 2, 9, 9}, 3, pooled, 2, {1, 1, 0}));
    CHECK(pooled[0] == 4 && pooled[1] == 5);
    CHECK(says(emr::attempt([&] { return emr::ensemble::pool({1, 5, 4}, 3, pooled, 2); }), "n_tokens"));
}

int main()
{
    twins t;
    test_grams(t);
    test_permutations(t);
    test_merging(t);
    test_losses();
    test_coefficients();
    test_surgery();
    test_ensemble();
    return report();
}
