# Called a configuration for state tuning; it tunes LoRA.
python train.py --load_model /models/base.pth \
--proj_dir /out/state-tuning --data_file /data/talk \
--data_type binidx --vocab_size 65536 --n_layer 24 --n_embd 2048 \
--ctx_len 512 --micro_bsz 1 --epoch_steps 1000 --epoch_count 5 --lr_init 2e-5 --lr_final 2e-5 \
--precision bf16 --peft lora --lora_config '{"lora_load":"","lora_r":64,"lora_alpha":128,"lora_dropout":0.01}' \
# --quant nf4 \
--grad_cp 1 --warmup_steps 10
