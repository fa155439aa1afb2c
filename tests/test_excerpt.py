"""The part of some code that a few names stand on."""

import excerpt

CODE = [
    "import math\nimport torch as t",
    "a = 1  # first\nb = 2\nrows = []",
    "# the square\ndef square(x):\n    return x * later",
    "later = 3\nrows.append(a)\nprint(b)",
    "for b in range(3):\n    own = b\n    rows[0] = own",
    "a = 4",
]


def values(needed, code=CODE) -> dict:
    """The names after a run of the excerpt."""
    found = {}
    exec("\n".join(excerpt.excerpt(code, needed)), found)
    return found


def test_what_is_kept_gives_the_same_values_as_all():
    whole = {}
    exec("\n".join(CODE), whole)
    for name in ("a", "rows", "later"):
        assert values({name})[name] == whole[name]
    assert values({"square"})["square"](2) == 6


def test_the_rest_is_left_out():
    assert excerpt.excerpt(CODE, {"a"}) == [CODE[0], "", "", "", "", "a = 4"]
    kept = excerpt.excerpt(CODE, {"square"})
    assert kept == [CODE[0], "", CODE[2], "later = 3", "", ""]
    assert "print" not in "".join(excerpt.excerpt(CODE, {"a", "b", "rows", "square"}))


def test_results_count_one_by_one():
    code = ["results = {}", "results['a'] = 1\nresults['b'] = 2", "c = results['b']"]
    kept = excerpt.excerpt(code, {"c"})
    assert kept == [code[0], "results['b'] = 2", code[2]]


def test_what_cells_need():
    code = [
        "def f(x):\n    return x + y",
        "for z in w:\n    u = z\n    print(u)",
        "v = f(1)",
    ]
    assert excerpt.needs(code) == {"y", "w"}
    with_file = ["with open(name) as file:\n    text = file.read()\nprint(text)"]
    assert excerpt.needs(with_file) == {"name"}


def test_an_object_that_is_changed_is_changed_in_the_excerpt():
    code = ["d = {1: 2, 3: 4}\ne = [5]", "del d[1]\ne.append(6)\nd[7] = 8"]
    found = values({"d", "e"}, code)
    assert (found["d"], found["e"]) == ({3: 4, 7: 8}, [5, 6])


NET = [
    "import torch",
    "torch.manual_seed(0)\nnet = torch.nn.Linear(2, 1)\nx = torch.ones(9, 2)",
    "best = torch.optim.SGD(net.parameters(), 0.1)\nrate = torch.optim.lr_scheduler"
    ".StepLR(best, 1)",
    "def guess(x):\n    return net(x) + offset",
    "offset = 1.0\nlosses = []",
    "for _ in range(5):\n    loss = guess(x).square().mean()\n    best.zero_grad()\n"
    "    loss.backward()\n    best.step()\n    rate.step()\n    losses.append(loss)",
    "shown = [loss.item() for loss in losses]",
    "offset = 2.0",
]


def test_a_net_is_trained_in_the_excerpt_too():
    whole = {}
    exec("\n".join(NET), whole)
    found = values({"guess"}, NET)
    assert found["guess"](whole["x"]).tolist() == whole["guess"](whole["x"]).tolist()
    assert "shown" not in found


def test_a_loop_over_a_training_is_training():
    code = [
        "def train(net, steps):\n    for step in range(steps):\n"
        "        net.append(step)\n        yield step",
        "net = []\nrows = [1, 2]",
        "for step in train(net, 3):\n    last = step",
        "for row in rows:\n    print(row)",
    ]
    assert values({"net"}, code)["net"] == [0, 1, 2]
    assert excerpt.excerpt(code, {"rows"})[2:] == ["", ""]


def test_a_function_may_be_defined_below_another_that_calls_it():
    code = "def rmse(a):\n    return mse(a) ** 0.5\n\n\ndef mse(a):\n    return a * b\n"
    assert excerpt.needs([code]) == {"b"}
    assert excerpt.needs(["rmse = mse(1)\n", code]) == {"mse", "b"}


def test_the_name_of_an_error_is_its_own():
    code = "try:\n    f()\nexcept ValueError as refusal:\n    print(refusal)\n"
    assert excerpt.needs([code]) == {"f"}


def test_what_a_function_changes_inside_is_not_the_notebooks():
    code = "def story():\n    told = []\n    told.append(1)\n    return mse(told)\n"
    assert excerpt.excerpt(["told = 1\n", code], {"told"}) == ["told = 1", ""]
