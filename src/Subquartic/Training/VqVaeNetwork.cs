using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Tensors;
using Subquartic.Training.Operations;

namespace Subquartic.Training;

/// <summary>The multi-scale VQ-VAE as it is trained: the parameters and forward pass of <see cref="VqVae"/>, on a tape (VAR models/vqvae.py,
/// models/basic_vae.py).</summary>
public sealed class VqVaeNetwork : IDisposable
{
    private readonly Coder _encoder;
    private readonly Coder _decoder;
    private readonly Convolution _afterEncoder;
    private readonly Convolution _beforeDecoder;
    private readonly (Parameter Weight, Parameter Bias)[] _phi;
    private readonly int[] _phiOfScale;

    /// <summary>Creates the network.</summary>
    /// <param name="config">Sizes and switches.</param>
    /// <param name="scales">The token maps.</param>
    /// <param name="seed">Seed of the random start.</param>
    /// <param name="from">A checkpoint to start from, or null.</param>
    /// <exception cref="CheckpointException">The checkpoint does not fit the configuration.</exception>
    public VqVaeNetwork(VqVaeConfig config, ScaleSchedule scales, ulong seed, CheckpointView? from = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(scales);
        Config = config;
        Scales = scales;
        Parameters = new ParameterSet(seed, from);
        StartsTrained = from is not null;
        _encoder = new Coder(this, "encoder", encodes: true);
        _decoder = new Coder(this, "decoder", encodes: false);
        int channels = config.CodeChannels;
        Codebook = Parameters.Uniform("quantize.embedding.weight", 1.0 / config.Vocabulary, decays: false, config.Vocabulary, channels);
        string[] names = config.SharedPhi switch
        {
            0 => [.. Enumerable.Range(0, scales.Count).Select(k => $"{k}")],
            1 => ["qresi"],
            _ => [.. Enumerable.Range(0, config.SharedPhi).Select(k => $"qresi_ls.{k}")],
        };
        _phi = [.. names.Select(name => new Convolution(Parameters, $"quantize.quant_resi.{name}", channels, channels, 3)).Select(c => (c.Weight, c.Bias))];
        _phiOfScale = [.. Enumerable.Range(0, scales.Count).Select(k => MultiScaleQuantizer.PhiIndex(k, scales.Count, _phi.Length))];
        _afterEncoder = new Convolution(Parameters, "quant_conv", channels, channels, config.QuantizerKernel);
        _beforeDecoder = new Convolution(Parameters, "post_quant_conv", channels, channels, config.QuantizerKernel);
    }

    /// <summary>Sizes and switches.</summary>
    public VqVaeConfig Config { get; }

    /// <summary>The token maps.</summary>
    public ScaleSchedule Scales { get; }

    /// <summary>Whether the weights came from a checkpoint.</summary>
    public bool StartsTrained { get; }

    /// <summary>All parameters, with the official names.</summary>
    public ParameterSet Parameters { get; }

    /// <summary>The code vectors (V, Cvae).</summary>
    public Parameter Codebook { get; }

    /// <summary>f = quant_conv(encoder(image)).</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="image">(B, H, W, image channels) with values in [-1, 1].</param>
    /// <returns>(B, h, w, Cvae).</returns>
    public Variable Encode(Tape tape, Variable image)
    {
        Variable x = _encoder.Input.Forward(tape, image);
        for (int i = 0; i < _encoder.Levels.Length; i++)
        {
            x = _encoder.Levels[i].Forward(tape, x, stride: 2, upsample: false);
        }

        x = _encoder.Middle.Forward(tape, x, 1, false);
        return _afterEncoder.Forward(tape, _encoder.Output.Forward(tape, _encoder.OutputNorm.Forward(tape, x, silu: true)));
    }

    /// <summary>Quantises a feature map, with losses.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="f">(B, h, w, Cvae).</param>
    /// <param name="beta">Weight of the commitment loss.</param>
    /// <returns>Map, tokens, loss.</returns>
    public Quantized Quantize(Tape tape, Variable f, double beta) =>
        tape.Quantize(f, Codebook, _phi, _phiOfScale, Math.Abs(Config.QuantizerResidual), Config.UseZNorm, Scales, beta);

    /// <summary>image = decoder(post_quant_conv(fHat)).</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="fHat">(B, h, w, Cvae).</param>
    /// <returns>(B, H, W, image channels), nominally in [-1, 1].</returns>
    public Variable Decode(Tape tape, Variable fHat)
    {
        Variable x = _decoder.Middle.Forward(tape, _decoder.Input.Forward(tape, _beforeDecoder.Forward(tape, fHat)), 1, false);
        for (int i = _decoder.Levels.Length - 1; i >= 0; i--)
        {
            x = _decoder.Levels[i].Forward(tape, x, stride: 1, upsample: true);
        }

        return _decoder.Output.Forward(tape, _decoder.OutputNorm.Forward(tape, x, silu: true));
    }

    /// <summary>Whether a parameter belongs to what comes after the quantiser.</summary>
    internal static bool IsDecoder(string name) =>
        name.StartsWith("decoder.", StringComparison.Ordinal) || name.StartsWith("post_quant_conv.", StringComparison.Ordinal);

    /// <summary>Usage statistics, which the reference keeps in the state dict and refuses to load without.</summary>
    internal IEnumerable<TensorSource> Buffers(TensorType type)
    {
        yield return new TensorSource(
            new TensorInfo("quantize.ema_vocab_hit_SV", [Scales.Count, Config.Vocabulary], type), (_, span) => span.Clear());
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose() => Parameters.Dispose();

    /// <summary>A convolution starts as PyTorch's does: uniform within 1 / sqrt(inputs of one output).</summary>
    private sealed class Convolution(ParameterSet parameters, string name, int inputs, int outputs, int kernel)
    {
        public Parameter Weight { get; } =
            parameters.Uniform($"{name}.weight", 1 / Math.Sqrt(inputs * kernel * kernel), decays: true, outputs, inputs, kernel, kernel);

        public Parameter Bias { get; } = parameters.Uniform($"{name}.bias", 1 / Math.Sqrt(inputs * kernel * kernel), decays: false, outputs);

        public Variable Forward(Tape tape, Variable x, int stride = 1, bool upsample = false) => tape.Convolve(x, Weight, Bias, stride, upsample);
    }

    private sealed class Norm(ParameterSet parameters, string name, int channels)
    {
        private readonly Parameter _weight = parameters.Constant($"{name}.weight", 1, decays: false, channels);
        private readonly Parameter _bias = parameters.Constant($"{name}.bias", 0, decays: false, channels);

        public Variable Forward(Tape tape, Variable x, bool silu) => tape.GroupNorm(x, _weight, _bias, silu);
    }

    private sealed class ResidualBlock(ParameterSet parameters, string name, int inputs, int outputs)
    {
        private readonly Norm _norm1 = new(parameters, $"{name}.norm1", inputs);
        private readonly Convolution _conv1 = new(parameters, $"{name}.conv1", inputs, outputs, 3);
        private readonly Norm _norm2 = new(parameters, $"{name}.norm2", outputs);
        private readonly Convolution _conv2 = new(parameters, $"{name}.conv2", outputs, outputs, 3);
        private readonly Convolution? _shortcut = inputs == outputs ? null : new(parameters, $"{name}.nin_shortcut", inputs, outputs, 1);

        public Variable Forward(Tape tape, Variable x)
        {
            Variable hidden = _conv1.Forward(tape, _norm1.Forward(tape, x, silu: true));
            Variable y = _conv2.Forward(tape, _norm2.Forward(tape, hidden, silu: true));
            return tape.Add(_shortcut is null ? x : _shortcut.Forward(tape, x), y);
        }
    }

    private sealed class AttentionBlock(ParameterSet parameters, string name, int channels)
    {
        private readonly Norm _norm = new(parameters, $"{name}.norm", channels);
        private readonly Convolution _qkv = new(parameters, $"{name}.qkv", channels, 3 * channels, 1);
        private readonly Convolution _projection = new(parameters, $"{name}.proj_out", channels, channels, 1);

        public Variable Forward(Tape tape, Variable x)
        {
            int pixels = x.Height * x.Width;
            Variable qkv = _qkv.Forward(tape, _norm.Forward(tape, x, silu: false));
            Variable attended = tape.Attention(qkv, x.Batch, 1, 1 / MathF.Sqrt(x.Value.Columns), [new AttentionSegment(0, pixels, pixels)]);
            return tape.Add(x, _projection.Forward(tape, attended));
        }
    }

    /// <summary>Residual blocks, each perhaps with attention, then perhaps a change of resolution.</summary>
    private sealed class Stage
    {
        private readonly List<(ResidualBlock Residual, AttentionBlock? Attention)> _blocks = [];
        private readonly Convolution? _resample;

        public Stage(ParameterSet parameters, IReadOnlyList<(string Residual, string? Attention)> names, string? resample, int inputs, int outputs)
        {
            foreach ((string residual, string? attention) in names)
            {
                _blocks.Add((
                    new ResidualBlock(parameters, residual, _blocks.Count == 0 ? inputs : outputs, outputs),
                    attention is null ? null : new AttentionBlock(parameters, attention, outputs)));
            }

            _resample = resample is null ? null : new Convolution(parameters, resample, outputs, outputs, 3);
        }

        public Variable Forward(Tape tape, Variable x, int stride, bool upsample)
        {
            foreach ((ResidualBlock residual, AttentionBlock? attention) in _blocks)
            {
                x = residual.Forward(tape, x);
                x = attention is null ? x : attention.Forward(tape, x);
            }

            return _resample is null ? x : _resample.Forward(tape, x, stride, upsample);
        }
    }

    /// <summary>Encoder or decoder: both have the same parts under the same names, in opposite order.</summary>
    private sealed class Coder
    {
        public Coder(VqVaeNetwork network, string name, bool encodes)
        {
            VqVaeConfig config = network.Config;
            ParameterSet parameters = network.Parameters;
            int coarsest = config.ChannelMultipliers.Count - 1;
            int coarse = config.BaseChannels * config.ChannelMultipliers[coarsest];
            int channels = encodes ? config.BaseChannels : coarse;
            Input = new Convolution(parameters, $"{name}.conv_in", encodes ? config.ImageChannels : config.CodeChannels, channels, 3);
            Levels = new Stage[coarsest + 1];
            for (int step = 0; step <= coarsest; step++)
            {
                int level = encodes ? step : coarsest - step;
                int outputs = config.BaseChannels * config.ChannelMultipliers[level];
                string place = $"{name}.{(encodes ? "down" : "up")}.{level}";
                Levels[level] = new Stage(
                    parameters,
                    [.. Enumerable.Range(0, config.ResidualBlocks + (encodes ? 0 : 1)).Select(j =>
                        ($"{place}.block.{j}", level == coarsest ? $"{place}.attn.{j}" : null))],
                    step == coarsest ? null : $"{place}.{(encodes ? "downsample" : "upsample")}.conv", channels, outputs);
                channels = outputs;
            }

            Middle = new Stage(
                parameters, [($"{name}.mid.block_1", $"{name}.mid.attn_1"), ($"{name}.mid.block_2", null)], null, coarse, coarse);
            OutputNorm = new Norm(parameters, $"{name}.norm_out", channels);
            Output = new Convolution(parameters, $"{name}.conv_out", channels, encodes ? config.CodeChannels : config.ImageChannels, 3);
        }

        public Convolution Input { get; }

        public Stage[] Levels { get; }

        public Stage Middle { get; }

        public Norm OutputNorm { get; }

        public Convolution Output { get; }
    }
}
