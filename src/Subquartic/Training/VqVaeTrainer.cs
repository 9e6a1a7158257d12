using System.Numerics.Tensors;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Training.Data;
using Subquartic.Training.Operations;

namespace Subquartic.Training;

/// <summary>Trains the first stage: the multi-scale VQ-VAE, on |x - y| + (x - y)^2 plus the quantiser's losses and, if wanted, a perceptual one.</summary>
/// <remarks>The first step of a random network sets all codes to vectors that were sought in it; later, codes that hardly any token has used for a while are set so
/// again. Otherwise most of a codebook dies early. Measures: <c>l1</c>, <c>psnr</c> (of the step's pictures, in dB), <c>quantizer</c>; per scale the share of the codebook in use.</remarks>
public sealed class VqVaeTrainer : Trainer
{
    private const int ReviveEvery = 20;
    private const float UsageDecay = 0.95f;

    // A code that holds less than this share of what an average code holds counts as dead.
    private const float DeadShare = 0.02f;

    private readonly VqVaeNetwork _network;
    private readonly FloatBuffer _usage;
    private readonly double _beta;
    private readonly PerceptualLoss? _perceptual;
    private IReadOnlyList<Matrix> _candidates = [];

    /// <summary>Prepares training.</summary>
    /// <param name="network">The network; the trainer disposes it.</param>
    /// <param name="dataset">Pictures whose sides are the last token map's times the down-sampling.</param>
    /// <param name="options">Settings.</param>
    /// <param name="kernels">The kernels that compute.</param>
    /// <param name="beta">Weight of the commitment loss.</param>
    /// <param name="perceptual">What to add for how pictures look, or null.</param>
    /// <exception cref="ArgumentException">The pictures have another size.</exception>
    public VqVaeTrainer(
        VqVaeNetwork network, IImageDataset dataset, TrainingOptions options, KernelSet kernels, double beta = 0.25, PerceptualLoss? perceptual = null)
        : base(network?.Parameters ?? throw new ArgumentNullException(nameof(network)), dataset, options, kernels)
    {
        TokenMapSize last = network.Scales.Last;
        if (dataset.Height != last.Height * network.Config.DownSampling || dataset.Width != last.Width * network.Config.DownSampling)
        {
            throw new ArgumentException(
                $"The pictures are {dataset.Height} x {dataset.Width}; token maps up to {last} and {network.Config.DownSampling} pixels per token " +
                $"need {last.Height * network.Config.DownSampling} x {last.Width * network.Config.DownSampling}.", nameof(dataset));
        }

        _network = network;
        _beta = beta;
        _perceptual = perceptual;
        _usage = new FloatBuffer(network.Config.Vocabulary);
        _usage.Span().Fill(1);
    }

    private protected override string NetworkDescription =>
        $"{_network.Config} {string.Join(',', _network.Config.ChannelMultipliers)} {_network.Scales} {_beta}{(_perceptual is { } loss ? " " + loss.Description : "")}";

    private protected override (double Loss, Dictionary<string, double> Measures, double[] PerScale) Pass()
    {
        Variable image = Tape.Constant(Images);
        Variable f = _network.Encode(Tape, image);
        Quantized quantized = _network.Quantize(Tape, f, _beta);
        _candidates = quantized.Sought;
        var loss = ReconstructionLoss.Add(Tape, image, _network.Decode(Tape, quantized.FHat), _perceptual);
        CountUsage(quantized.Tokens);
        Dictionary<string, double> measures = loss.Measures;
        measures["quantizer"] = quantized.Loss;
        return (loss.Total + quantized.Loss, measures, UsedShares(quantized.Tokens));
    }

    private protected override void AfterStep()
    {
        bool setsAll = Step == 0 && !_network.StartsTrained;
        if (!setsAll && ((Step + 1) % ReviveEvery != 0 || Step > Options.Steps * 8 / 10))
        {
            return;
        }

        Span<float> usage = _usage.Span();
        float average = TensorPrimitives.Sum<float>(usage) / usage.Length;
        Parameter codebook = _network.Codebook;
        int channels = _network.Config.CodeChannels;
        for (int v = 0; v < usage.Length; v++)
        {
            if (setsAll || usage[v] < DeadShare * average)
            {
                // Any scale, then any of its vectors: coarse scales have few tokens but need codes too.
                ulong hash = SplitMix64.Mix(Options.Seed ^ ((ulong)Step * SplitMix64.Step) ^ SplitMix64.Mix((ulong)v));
                Matrix candidates = _candidates[(int)((hash >> 40) % (ulong)_candidates.Count)];
                candidates.Row((int)((hash & 0xffffffff) % (ulong)candidates.Rows)).CopyTo(codebook.Matrix.Row(v));
                Forget(codebook, v * channels, channels);
                usage[v] = average;
            }
        }

        codebook.Changed();
    }

    private protected override IEnumerable<(string Name, FloatBuffer Values)> ExtraState() => [("usage", _usage)];

    private protected override IEnumerable<TensorSource> Buffers(TensorType type) => _network.Buffers(type);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _usage.Dispose();
        _network.Dispose();
    }

    private void CountUsage(int[] tokens)
    {
        Span<float> usage = _usage.Span();
        TensorPrimitives.Multiply(usage, UsageDecay, usage);
        foreach (int token in tokens)
        {
            usage[token] += (1 - UsageDecay) / Options.Batch;
        }
    }

    private double[] UsedShares(int[] tokens)
    {
        ScaleSchedule scales = _network.Scales;
        var shares = new double[scales.Count];
        for (int k = 0; k < scales.Count; k++)
        {
            var used = new HashSet<int>();
            for (int b = 0; b < Options.Batch; b++)
            {
                used.UnionWith(tokens.AsSpan(b * scales.Tokens + scales.Start(k), scales[k].Tokens).ToArray());
            }

            shares[k] = (double)used.Count / _network.Config.Vocabulary;
        }

        return shares;
    }
}
