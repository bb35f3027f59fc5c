#!/bin/sh
# slurm.sh - a merge as a job array: each task of the array makes one part, and a job after them joins all.
#
#     N=16
#     parts=$(sbatch --parsable --array=1-$N slurm.sh $N /scratch/parts --base base/ --task french/ --task german/)
#     sbatch --dependency=afterok:$parts --cpus-per-task=2 --mem=1G --wrap 'emr join /scratch/parts/*.part -o all.emr'
#
# A part has its name only once it is whole, so the same array may be submitted again: what is done stays.
#SBATCH --job-name=emr-part
#SBATCH --cpus-per-task=8
#SBATCH --mem=2G
#SBATCH --requeue
set -eu
n=$1 folder=$2
shift 2
part="$folder/$(printf %05d "$SLURM_ARRAY_TASK_ID").part"
mkdir -p "$folder"
if [ -e "$part" ]; then
    exit 0
fi
exec emr merge "$@" --part "$SLURM_ARRAY_TASK_ID/$n" --threads "${SLURM_CPUS_PER_TASK:-2}" --memory 1GiB --quiet -o "$part"
