#!/bin/bash
# sbatch docs/examples/slurm_generate.sh recipes/r1_qwen_14b.yaml
#
# Decodes a recipe in 8 shards, one node each; all overrides of the recipe go behind it. When every task has ended:
#   cord merge recipes/r1_qwen_14b.yaml && cord run recipes/r1_qwen_14b.yaml
# `cord merge` names the shards that are not done; these alone again: sbatch --array=3,5 docs/examples/slurm_generate.sh ...
#SBATCH --job-name=cord-generate
#SBATCH --array=1-8
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=%x-%A_%a.out
set -euo pipefail

# Into how many shards the problems are cut. Not SLURM_ARRAY_TASK_COUNT: that is 2 when two shards are redone.
SHARDS=${SHARDS:-8}

cord generate "$@" --shard "$SLURM_ARRAY_TASK_ID/$SHARDS"
