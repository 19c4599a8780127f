#!/bin/bash
# sbatch docs/examples/slurm_generate.sh recipes/r1_qwen_14b.yaml
#
# Decodes a recipe on 8 nodes, each with its own engines: the same command runs on all of them, they share the run folder,
# and each takes the problems that no other has. All overrides of the recipe go behind it. A job that is requeued, or run
# with another number of nodes, goes on where it was.
#SBATCH --job-name=cord-generate
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=%x-%j.out
set -euo pipefail

# A node that fails leaves its problems to the others.
srun --kill-on-bad-exit=0 cord generate "$@"
