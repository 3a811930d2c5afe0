#!/usr/bin/env bash
# The paper's recipes on real samples, with `mini` in the place of models whose weights are not at hand.
#
#     bench/recipes_on_samples.sh ../shared/data OUT            # all, one after another
#     bench/recipes_on_samples.sh ../shared/data OUT table-9    # one
#     python scripts/record_recipes.py COMMIT OUT/runs/*        # into docs/tables.md and `molyneux list recipes`
#
# What is taught: the first or the first two concepts of novel-concepts-2, scored on ten photos of each beside one photo
# of every tenth class of ImageNet. The settings were chosen on novel-concepts (docs/tables.md). A run that was cut off
# goes on.
set -euo pipefail
data=$(realpath "$1") out=$(realpath -m "$2")
shift 2
mkdir -p "$out/imagenet1k-sample-100" "$out/novel-concepts-2" "$out/runs"

place=0
for folder in "$data"/imagenet1k-sample/*/; do
  if ((place++ % 10 == 0)); then ln -sfn "${folder%/}" "$out/imagenet1k-sample-100/$(basename "$folder")"; fi
done
for name in ceiling_fan minaret; do
  mkdir -p "$out/novel-concepts-2/$name"
  for photo in "$data/novel-concepts-2/$name"/0?.jpg; do ln -sfn "$photo" "$out/novel-concepts-2/$name/"; done
done
# the two, described at length as in the data, in a sentence, and in a few words
cat > "$out/P3.json" <<'JSON'
{"ceiling fan": "An appliance hanging from the ceiling with several long flat blades around a central motor, often with lamps below.",
 "minaret": "A tall slender tower of stone with a balcony near the top and a pointed or domed roof, beside a domed building."}
JSON
cat > "$out/P2.json" <<'JSON'
{"ceiling fan": "An appliance hanging from the ceiling with long flat blades around a motor.",
 "minaret": "A tall slender tower of stone with a balcony near the top."}
JSON
cat > "$out/P1.json" <<'JSON'
{"ceiling fan": "Flat blades hanging from the ceiling.",
 "minaret": "A slender tower of stone."}
JSON

photos=(--data "rare-concepts=folder:$out/novel-concepts-2" "imagenet-1k=folder:$out/imagenet1k-sample-100" --model mini --concepts "$out/P3.json")
# the paper's canvas grows from 64 over 128 to 224 pixels; here by the same factors up to the 128 that mini inverts at
small=(inversion.size=0 inversion.view=0 "inversion.growth=[[0.0,37],[0.18,73],[0.36,128]]")
# fewer steps and images than the paper's 5,000 and 10; ten epochs where it has one, at a higher rate
images=(inversion.steps=50 inversion.images=8)
lesson=(teaching.learning_rate=1.5e-4 teaching.epochs=10)
few=(--only "concept=ceiling fan")
two=(--only "concept=ceiling fan" concept=minaret)
marked=(evaluate.sam=null evaluate.limit=8 evaluate.saliency.preset=default evaluate.compared=true evaluate.shown=4)

recipe() {
  local name=$1
  shift
  if ((${#wanted[@]})) && [[ ! " ${wanted[*]} " == *" $name "* ]]; then return; fi
  echo "$name from $(date +%T)"
  timeout 500 molyneux run "paper/$name" --out "$out/runs/$name" --quiet "$@" > "$out/$name.log" 2>&1 || echo "$name ended with $?"
}
wanted=("$@")

recipe table-2 "${photos[@]}" "${two[@]}" --set "${small[@]}" "${images[@]}" "${lesson[@]}" evaluate.best_names=3
recipe figure-3 "${photos[@]}" "${two[@]}" kind=high-level --set "${small[@]}" "${images[@]}" "${lesson[@]}"
recipe table-9 "${photos[@]}" "${few[@]}" --set "${small[@]}" "${images[@]}" "${lesson[@]}"
recipe figure-14 "${photos[@]}" "${few[@]}" "learning rate=baseline" "learning rate=2e-5" "learning rate=5e-5" \
  --set "${small[@]}" "${images[@]}" teaching.epochs=30
recipe table-10 "${photos[@]}" "P1=$out/P1.json" "P2=$out/P2.json" "${few[@]}" \
  "taught on=baseline" "taught on=P1" "taught on=P2" "taught on=P3" "taught on=noise" \
  --set "${small[@]}" "${images[@]}" "${lesson[@]}"
recipe table-7 --model mini --only "of=brain MRI" "of=breast ultrasound" "of=lung nodules" --data \
  "brats23=folder:$data/medical/brain-mri" "udiat=folder:$data/medical/breast-ultrasound" \
  "unitochest=folder:$data/medical/lung-ct" --set "${small[@]}" "${images[@]}" "${lesson[@]}" "${marked[@]}"
recipe table-8 --model mini --data "flickr30k=$data/flickr8k-1k" --set evaluate.split=test-half teaching.preset=paper \
  inversion.preset=paper "${small[@]}" inversion.steps=20 inversion.images=2 teaching.learning_rate=1e-4 teaching.epochs=1
recipe figure-13 "${photos[@]}" "${few[@]}" "learning rate=baseline" "learning rate=5e-5" \
  --set "${small[@]}" "${images[@]}" teaching.epochs=30
recipe figure-7 --model mini --only source=inversion images=10 images=100 --set "${small[@]}" inversion.steps=10
recipe figure-6 "${photos[@]}" "${few[@]}" "inversion steps=baseline" "inversion steps=50" "inversion steps=100" \
  "inversion steps=250" --set "${small[@]}" inversion.images=4 "${lesson[@]}"
