using Subquartic.Attention;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Training.Data;
using Subquartic.Training.Operations;

namespace Subquartic.Training;

/// <summary>Trains a critic: to tell the first maps of real pictures from those that a transformer draws.</summary>
/// <remarks>A step shows as many drawn beginnings as real ones. The loss is that of a classifier of 2 C classes: that it must name the class too gives it the features from which to start; trained to tell drawn from real
/// within a known class only, it was still at one half after 500 steps. Measures: <c>accuracy</c>, the share told apart in the last step with new ones, which is one half
/// where drawn beginnings are as good as real ones; nothing per scale.</remarks>
public sealed class CriticTrainer : Trainer
{
    private readonly CriticNetwork _network;
    private readonly ImageGenerator _generator;
    private readonly IAttention _attention;
    private readonly int _scales;
    private readonly FloatBuffer _maps;
    private readonly DrawnMaps _drawn;
    private readonly FloatBuffer _accuracy = FloatBuffer.Of([0.5f]);

    /// <summary>Prepares training.</summary>
    /// <param name="network">The network; the trainer disposes it.</param>
    /// <param name="generator">Draws, and encodes the pictures: it needs its encoder. Stays the caller's.</param>
    /// <param name="dataset">Pictures of the generator's size and classes.</param>
    /// <param name="options">Settings.</param>
    /// <param name="kernels">The kernels that compute.</param>
    /// <param name="scales">How many of the first maps it looks at, 1 to all but the last.</param>
    /// <param name="sampling">How they are drawn.</param>
    /// <param name="drawEvery">Of so many steps one draws new beginnings.</param>
    /// <exception cref="ArgumentException">Pictures, network and generator do not fit together, or there are fewer maps.</exception>
    public CriticTrainer(
        CriticNetwork network, ImageGenerator generator, IImageDataset dataset, TrainingOptions options, KernelSet kernels, int scales,
        SamplingDefaults sampling, int drawEvery)
        : base(network?.Parameters ?? throw new ArgumentNullException(nameof(network)), dataset, options, kernels)
    {
        ArgumentNullException.ThrowIfNull(generator);
        ArgumentNullException.ThrowIfNull(sampling);
        ScaleSchedule schedule = generator.Transformer.Config.Scales;
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(scales, schedule.Count);
        int classes = generator.Transformer.Config.Classes;
        if ((dataset.Height, dataset.Width) != (generator.ImageHeight, generator.ImageWidth) || dataset.Classes.Count != classes || network.Classes != classes)
        {
            throw new ArgumentException(
                $"The pictures are {dataset.Height} x {dataset.Width} of {dataset.Classes.Count} classes; the model draws {generator.ImageHeight} x {generator.ImageWidth} of {classes}, the critic knows {network.Classes}.",
                nameof(dataset));
        }

        _network = network;
        _generator = generator;
        _attention = new ExactAttention(kernels);
        _scales = scales;
        _drawn = new DrawnMaps(generator, sampling, options, classes, scales, drawEvery);
        _maps = new FloatBuffer(2L * options.Batch * schedule.Last.Tokens * network.CodeChannels);
    }

    private protected override string NetworkDescription =>
        $"critic {_network.Classes} {_drawn.Description} {Hash(_generator.Autoencoder.Quantizer.Codebook.Span()):x}";

    private protected override (double Loss, Dictionary<string, double> Measures, double[] PerScale) Pass()
    {
        int batch = Options.Batch, classes = _network.Classes;
        TokenMapSize size = _generator.Transformer.Config.Scales[_scales - 1];
        Variable maps = Tape.NewMap(2 * batch, size.Height, size.Width, _network.CodeChannels, needsGradient: false);
        int[] labels = [.. Labels, .. new int[batch]];
        Encode(maps.Map);
        _drawn.Read(Step, b => Uniform(b, 0), maps.Map.Buffer.FeatureMap(batch, size.Height, size.Width, _network.CodeChannels, maps.Map.Offset + maps.Map.Length / 2), labels.AsSpan(batch));
        for (int b = batch; b < labels.Length; b++)
        {
            labels[b] += classes;
        }

        var losses = new float[2 * batch];
        var hits = new bool[2 * batch];
        Variable logits = _network.Forward(Tape, maps);
        Tape.CrossEntropy(logits, labels, 0, losses, hits);
        if (_drawn.IsNew(Step))
        {
            _accuracy.Span()[0] = Enumerable.Range(0, 2 * batch)
                .Count(i => Critic.LogRatio(logits.Value.Row(i), labels[i] % classes) > 0 == i < batch) / (2f * batch);
        }

        return (losses.Average(), new Dictionary<string, double> { ["accuracy"] = _accuracy.Span()[0] }, []);
    }

    /// <summary>The beginnings that were drawn, and the last measure.</summary>
    private protected override IEnumerable<(string Name, FloatBuffer Values)> ExtraState() => [("drawn", _drawn.Values), ("accuracy", _accuracy)];

    /// <summary>The first maps of the step's pictures.</summary>
    private void Encode(FeatureMap maps)
    {
        ScaleSchedule schedule = _generator.Transformer.Config.Scales;
        FeatureMap f = _maps.FeatureMap(Options.Batch, schedule.Last.Height, schedule.Last.Width, _network.CodeChannels);
        FeatureMap fHat = _maps.FeatureMap(f.Batch, f.Height, f.Width, f.Channels, f.Length);
        _generator.Autoencoder.Encode(Images, f, _attention);
        Tape.Kernels.Pool.For(f.Batch, b =>
        {
            var tokens = new int[schedule.Tokens];
            FeatureMap image = fHat.Image(b);
            _generator.Autoencoder.Quantizer.Quantize(f.Image(b), tokens, image);
            image.Span().Clear();
            for (int k = 0; k < _scales; k++)
            {
                _generator.Autoencoder.Quantizer.Accumulate(tokens.AsSpan(schedule.Start(k), schedule[k].Tokens), k, image);
            }

            Critic.Reduce(image, maps.Image(b));
        });
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _maps.Dispose();
        _drawn.Dispose();
        _accuracy.Dispose();
        _network.Dispose();
    }
}
