python train.py --load_model base.pth --proj_dir out/sft --data_file qa.json --data_type sft \
  --sft_field query response --sft_split "train[:5000]" \
  --ctx_len 1024 --micro_bsz 2 --epoch_steps 50 --epoch_count 2 --lr_init 2e-5 --lr_final 2e-5 \
  --precision bf16 --peft bone --bone_config '{"bone_mode":"bone","bone_load":"old.pth","bone_r":32}' --lisa_r 2
