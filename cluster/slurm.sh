#!/bin/bash
# Pretraining as a SLURM job: every node runs the same `ray symmetric-run`. On the first node this starts Ray's head, waits
# for the other nodes, runs the command after `--`, and stops Ray everywhere when the command ends; on the others it joins the head.
#
#   wsc-ray run RECIPE --out RUN --cluster cluster/slurm.sh      on a login node: submits any command, follows it and exits with its status
#   sbatch cluster/slurm.sh       pretraining by hand; after the time limit, type it again: the run goes on from its last checkpoint
#   squeue --me                   scancel JOB stops it
#
# ---- Yours: what to ask SLURM for, and the values below ---------------------------------------------------------
#SBATCH --job-name=wsc-ray
#SBATCH --nodes=2
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.log
# Do not change these two: one Ray per node, and no Ray of another job on it.
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
set -euo pipefail

VENV=${VENV:-$HOME/wsc-ray/.venv}  # where wsc-ray is installed; every node must see it
# For pretraining by hand; `wsc-ray ... --cluster cluster/slurm.sh` sets its own values.
if [ -z "${WSC_RAY_CALL:-}" ]; then
    RECIPE=${RECIPE:-jobs/recipes/camelyon16.yaml}
    MANIFEST=${MANIFEST:?set it here, or as in MANIFEST=... RUN=... sbatch cluster/slurm.sh: a folder that every node mounts, or s3://...}
    RUN=${RUN:?set it here or likewise: the run folder, which every node mounts}
    WORKERS=${WORKERS:-$SLURM_JOB_NUM_NODES}  # training workers, one GPU each: nodes x GPUs per node
fi

# ---- Nothing below needs changing ----------------------------------------------------------------------------------

# The call, and later its exit status, are in a folder of the shared home.
if [ -n "${WSC_RAY_CALL:-}" ]; then
    cd "$WSC_RAY_CALL"
    trap 'echo $? > exit.part && mv exit.part exit' EXIT
fi

export PATH=$VENV/bin:$PATH

# Other users' processes can reach these nodes' ports: only processes with this token may use this Ray. The token is in your
# home, which the nodes share; Ray itself would create a file that everybody can read.
export RAY_AUTH_MODE=token
(umask 077 && ray get-auth-token --generate > /dev/null)
chmod 600 ~/.ray/auth_token

export RAY_USAGE_STATS_ENABLED=0  # Ray would send usage statistics to its developers
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300  # seconds for the nodes to find each other; imports from NFS are slow

# This script runs on the first node, so that its address is the head's. With a loopback address each node would be a head.
read -r host _ < <(hostname -I)
head=$host:6379

if [ -n "${WSC_RAY_CALL:-}" ]; then
    work=(python "$WSC_RAY_ENTRY")
else
    work=(wsc-ray pretrain "$RECIPE" --set data.manifest="$MANIFEST" --set train.workers="$WORKERS" --out "$RUN")
fi

# wsc-ray starts a Ray of its own unless RAY_ADDRESS names one; `ray start` must not see it.
srun ray symmetric-run --address "$head" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --include-dashboard=false \
    -- env RAY_ADDRESS="$head" "${work[@]}"
