#!/bin/bash
# sbatch docs/examples/slurm_cluster.sh recipes/r1_qwen_14b_cluster.yaml
#
# Decodes a recipe that has a `cluster` section on all nodes of the job: one Ray cluster, which begins and ends with it. A
# job that is requeued goes on where it was.
#SBATCH --job-name=cord-generate
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=%x-%j.out
set -euo pipefail

# Ray's ports run any code of whoever reaches them: only who has the token of this job may.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_USAGE_STATS_ENABLED=0
# What a killed engine leaves behind would keep its GPU's memory.
export RAY_process_group_cleanup_enabled=1

MAIN=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
srun ray symmetric-run --address "$MAIN:6379" --min-nodes "$SLURM_NNODES" -- cord generate "$@"
