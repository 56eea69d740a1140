R=32
python3 train.py --load_model base.pth --proj_dir out/lora --data_file data/novel --data_type binidx \
  --n_layer 12 --n_embd 768 --ctx_len 1024 --micro_bsz 4 --accumulate_grad_batches 2 \
  --epoch_steps 200 --epoch_count 3 --lr_init 5e-5 --lr_final 5e-5 --warmup_steps -1 \
  --precision bf16 --strategy deepspeed_stage_1 --grad_cp 0 --my_testing x070 --dataload get --loss_mask none \
  --peft lora --lora_config "{\"lora_load\":\"\", \"lora_r\":$R, \"lora_alpha\":64, \"lora_dropout\":0.05}" \
  --train_parts '["time","ln"]' --lr_schedule cos
