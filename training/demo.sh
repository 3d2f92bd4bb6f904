#!/bin/sh
# Phantoms to a bundle, every step once; `make train-demo` calls it in a folder of its own.
# Run again, it goes on where it was stopped.
set -eu

say() { printf '\n$ %s\n' "$*"; "$@"; }

# Heads to train on, and others that no model sees before it is measured.
say python -m training.phantom fit --count "$PHANTOMS" --size "$PHANTOM_SIZE" --jobs "$JOBS"
say python -m training.phantom held --count "$HELD_OUT" --first-seed 900000 \
    --size "$PHANTOM_SIZE" --jobs "$JOBS"
for set in fit held; do
    say python -m training.prepare rsna --images "$set/images" --labels "$set/labels.csv" \
        --out "$set-store" --jobs "$JOBS"
done

# Stage 1: a model on everything, and one for each fold that never saw it.
say python -m training.train_slices fit-store models --preset small --augmentation phantom \
    --input-size "$INPUT_SIZE" --epochs "$EPOCHS" --folds "$FOLDS" \
    --jobs "$JOBS" --threads 1

# Stage 2 learns from what the folds' models say of slices they never saw.
say python -m training.describe fit-store models fit.npz
say python -m training.describe held-store models held.npz
for seed in 0 1 2; do
    say python -m training.train_fusion fit.npz "stage2-$seed.safetensors" --seed "$seed"
done

# Measure on half of the held-out heads what was calibrated on the other half.
say python -m training.evaluate stages --descriptors held.npz \
    --fusion stage2-0.safetensors stage2-1.safetensors stage2-2.safetensors --out report
say python -m training.export models stage2-0.safetensors held.npz bundle --name train-demo

# The node's own command judges a head with the bundle.
printf '[model]\nbundle = "bundle"\n' >ichnode.toml
say ichnode analyze held/images/900000 --config ichnode.toml --out analyzed
