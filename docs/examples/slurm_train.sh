#!/bin/bash
# sbatch docs/examples/slurm_train.sh recipes/r1_qwen_32b.yaml train.global_batch_size=16
#
# Trains a recipe on 2 nodes of 8 GPUs under ZeRO-3: one launcher per node, which starts its 8 processes. Overrides of the
# recipe go behind it. Submitted again, or requeued, it goes on from the newest complete checkpoint.
#SBATCH --job-name=cord-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=%x-%j.out
set -euo pipefail

GPUS=${GPUS_PER_NODE:-8}
# Not `head`: it would break the pipe, and with pipefail end the job.
MAIN=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
# Another job on the node may have the default port.
PORT=$((20000 + SLURM_JOB_ID % 20000))
export MAIN PORT GPUS

# SLURM_NODEID differs from node to node, so it is read there and not here.
srun bash -c 'exec accelerate launch --config_file accelerate_configs/multi_node.yaml \
    --num_machines "$SLURM_NNODES" --num_processes "$((SLURM_NNODES * GPUS))" \
    --machine_rank "$SLURM_NODEID" --main_process_ip "$MAIN" --main_process_port "$PORT" \
    train.py "$@"' train "$@"
