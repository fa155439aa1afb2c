"""What the variants of train_variants.py cost, whatever their weights are.

    python workflow/scripts/variant_costs.py

times all samplers in one run, in turns, with first weights, so that their ratios hold
though the machine may be busy. data/results/variant_costs.json has

    batch, rounds, threads, side
    rows, samplers        [samplers], both names
    evaluations           calls of the net for an image, counted
    milliseconds          for an image, [median, least, most] of the rounds, of
                          processor time on a CPU, of the clock on a GPU
    ratio                 to ddim_50 of the row ddpm in the same round, likewise
    sampling_bytes        at the peak of sampling one batch, nets included
    stages                names of all stages of training
    training_bytes        at the peak of two updates: net, average, optimiser, gradients
                          and activations, and the teacher of a student
    update_milliseconds   of an update, likewise

Bytes are what torch allocates for tensors, above what there was before: on a GPU from
torch.cuda.max_memory_allocated, on a CPU the largest sum of the allocations and
releases that torch.profiler records. The images in the training set do not count.
"""

import time
from functools import partial

import torch
from locality_sets import SIDE
from torch.profiler import ProfilerActivity, profile
from train_unet import processes
from train_variants import begin
from variants import CODE, NAME, SAMPLERS, STAGES, Job, sampler
from watched import short

from helpers import autoencoder, sampling, schedules, training
from helpers.artifacts import Experiment
from helpers.forward import gaussian_noise

SEED = 0
BATCH = {"cpu": 50, "cuda": 1000}
ROUNDS = 3
IMAGES = 256  # noise in the place of training images
ROWS = ("ddpm", "ancestral", "dit", "latent", "consistency")


def peak(work, device):
    """Bytes at the peak of `work()`, above what there was before."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    events = found.profiler.kineto_results.events()
    memory = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    return torch.tensor([size for _, size in sorted(memory)]).cumsum(0).amax().item()


def seconds(work, device):
    """Of processor time, or on a GPU of the clock."""
    if device == "cpu":
        started = time.process_time()
        work()
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def prepared(job, name):
    """The net that is asked, and a function that samples one batch with first weights.

    Counting and timing ask for the same net, so it is made once.
    """
    stage, latents = list(STAGES[job.row])[-1], None
    net = job.fabric.to_device(job.fresh(stage)).requires_grad_(False).eval()
    if job.row == "latent":
        first = job.fabric.to_device(job.fresh("autoencoder")).eval()
        shape = torch.Size((CODE, *[side // 2 for side in job.images.shape[2:]]))
        latents = autoencoder.Latents(first, torch.zeros(1), torch.ones(1), shape)
    shape = job.images.shape[1:] if latents is None else latents.shape
    noise = gaussian_noise(torch.Generator().manual_seed(SEED))
    like = job.fabric.to_device(torch.empty(0))
    draw = sampler(job, name, net, latents)

    @torch.no_grad()
    def work():
        draw(sampling.start(BATCH[job.device], shape, noise, like), noise)

    return net, work


def calls(net, work):
    """How often the net is asked for a batch."""
    found = []
    hook = net.register_forward_hook(lambda *_: found.append(1))
    work()
    hook.remove()
    return len(found)


def of_sampling(jobs):
    """The columns of all samplers; milliseconds come from rounds in turns."""
    known = [(job, name) for job in jobs for name in SAMPLERS[job.row]]
    works = [prepared(job, name) for job, name in known]
    device, batch = jobs[0].device, BATCH[jobs[0].device]
    table = {"rows": [job.row for job, _ in known], "samplers": [n for _, n in known]}
    table["evaluations"] = [calls(*pair) for pair in works]  # and a first warm round
    turns = [[seconds(work, device) for _, work in works] for _ in range(ROUNDS)]
    times = 1000 * torch.tensor(turns) / batch  # (rounds, samplers)
    one = len(SAMPLERS["ddpm"]) - 1  # ddim_50, since ddpm comes first
    table["milliseconds"] = spread(times)
    table["ratio"] = spread(times / times[:, one : one + 1])
    table["sampling_bytes"] = [peak(partial(once, *pair), device) for pair in known]
    return table


def once(job, name):
    """Build the nets and sample, in two steps, which need the memory of a thousand."""
    kind, _, count = name.partition("_")
    prepared(job, f"{kind}_2" if count else name)[1]()


def spread(times):
    """[median, least, most] of the rounds, for each column."""
    edges = [times.median(dim=0).values, times.amin(dim=0), times.amax(dim=0)]
    return torch.stack(edges, dim=1)


def ready(job, stage):
    """A function that makes the next update of a stage; nothing is done yet."""
    images, teacher = job.images, None
    if stage == "codes":
        side = images.shape[-1] // 2
        images = torch.randn(IMAGES, CODE, side, side)
    if stage == "student":
        teacher = job.fabric.to_device(job.fresh("unet")).requires_grad_(False).eval()
    run, loss, schedule = begin(job, stage, images, teacher)

    def update():
        drawn = training.draw(images, schedule, run.recipe, run.step + 1)
        run.update(drawn, schedule, loss)

    return update


def twice(job, stage):
    """The first two updates: with the second, the optimiser has all that it keeps."""
    update = ready(job, stage)
    update()
    update()


def of_training(jobs):
    """The columns of all stages, each once."""
    known = {stage: job for job in jobs for stage in STAGES[job.row]}
    device, table = jobs[0].device, {"stages": list(known)}
    table["training_bytes"] = [
        peak(partial(twice, job, stage), device) for stage, job in known.items()
    ]
    works = [ready(job, stage) for stage, job in known.items()]
    turns = [[seconds(work, device) for work in works] for _ in range(2 + ROUNDS)]
    table["update_milliseconds"] = spread(1000 * torch.tensor(turns[2:]))  # warm
    return table


def main():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    fabric = processes("bf16-mixed" if device == "cuda" else "32-true")
    fabric.launch()
    side = SIDE[NAME] // (2 if device == "cpu" else 1)
    images = torch.rand(IMAGES, 1, side, side) * 2 - 1
    jobs = [Job(row, images, schedules.linear(), fabric, SEED) for row in ROWS]
    settings = {"batch": BATCH[device], "rounds": ROUNDS}
    settings |= {"threads": torch.get_num_threads()}
    machine = training.describe(fabric)
    with Experiment(__file__, SEED, [], settings, machine) as run:
        table = settings | {"side": side} | of_sampling(jobs) | of_training(jobs)
        run.save("results/variant_costs.json", short(table))


if __name__ == "__main__":
    main()
