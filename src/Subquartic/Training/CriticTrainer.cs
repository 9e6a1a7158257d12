using Subquartic.Attention;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Training.Data;
using Subquartic.Training.Operations;

namespace Subquartic.Training;

/// <summary>Trains a critic: to tell the first maps of real pictures from those that a transformer draws.</summary>
/// <remarks>A step shows as many drawn beginnings as real ones. Drawing is what takes time, so only every few steps draw new ones, which are kept; the steps between show
/// some of those kept, at random. The loss is that of a classifier of 2 C classes: that it must name the class too gives it the features from which to start; trained to tell drawn from real
/// within a known class only, it was still at one half after 500 steps. Measures: <c>accuracy</c>, the share told apart in the last step with new ones, which is one half
/// where drawn beginnings are as good as real ones; nothing per scale.</remarks>
public sealed class CriticTrainer : Trainer
{
    private readonly CriticNetwork _network;
    private readonly ImageGenerator _generator;
    private readonly IAttention _attention;
    private readonly GenerationRequest _drawing;
    private readonly int _scales;
    private readonly int _drawEvery;
    private readonly FloatBuffer _maps;
    private readonly FloatBuffer _kept;
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
        ArgumentOutOfRangeException.ThrowIfLessThan(scales, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(scales, schedule.Count);
        ArgumentOutOfRangeException.ThrowIfLessThan(drawEvery, 1);
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
        _drawing = sampling.Request([]) with { Seed = options.Seed, Candidates = 1 };
        _scales = scales;
        _drawEvery = drawEvery;
        _maps = new FloatBuffer(2L * options.Batch * schedule.Last.Tokens * network.CodeChannels);
        _kept = new FloatBuffer((options.Steps + drawEvery - 1) / drawEvery * options.Batch * schedule[scales - 1].Tokens * network.CodeChannels);
    }

    private protected override string NetworkDescription =>
        $"critic {_network.Classes} {_scales} {_drawEvery} {_drawing.Guidance} {_drawing.Sampling} {Hash(_generator.Autoencoder.Quantizer.Codebook.Span()):x} {Hash(_generator.Transformer.ClassEmbedding(0)):x}";

    private protected override (double Loss, Dictionary<string, double> Measures, double[] PerScale) Pass()
    {
        int batch = Options.Batch, classes = _network.Classes;
        bool isNew = Step % _drawEvery == 0;
        TokenMapSize size = _generator.Transformer.Config.Scales[_scales - 1];
        Variable maps = Tape.NewMap(2 * batch, size.Height, size.Width, _network.CodeChannels, needsGradient: false);
        int[] labels = [.. Labels, .. new int[batch]];
        if (isNew)
        {
            Draw();
        }

        Encode(maps.Map);
        for (int b = 0; b < batch; b++)
        {
            int picture = isNew ? NewPicture(b) : (int)(Uniform(b, 0) * ((Step / _drawEvery + 1) * batch));
            labels[batch + b] = classes + picture % classes;
            Kept(picture).Span().CopyTo(maps.Map.Image(batch + b).Span());
        }

        var losses = new float[2 * batch];
        var hits = new bool[2 * batch];
        Variable logits = _network.Forward(Tape, maps);
        Tape.CrossEntropy(logits, labels, 0, losses, hits);
        if (isNew)
        {
            _accuracy.Span()[0] = Enumerable.Range(0, 2 * batch)
                .Count(i => Critic.LogRatio(logits.Value.Row(i), labels[i] % classes) > 0 == i < batch) / (2f * batch);
        }

        return (losses.Average(), new Dictionary<string, double> { ["accuracy"] = _accuracy.Span()[0] }, []);
    }

    /// <summary>All beginnings drawn so far, and the last measure.</summary>
    private protected override IEnumerable<(string Name, FloatBuffer Values)> ExtraState() => [("drawn", _kept), ("accuracy", _accuracy)];

    private int NewPicture(int b) => (int)(Step / _drawEvery * Options.Batch) + b;

    private FeatureMap Kept(int picture)
    {
        TokenMapSize size = _generator.Transformer.Config.Scales[_scales - 1];
        return _kept.FeatureMap(1, size.Height, size.Width, _network.CodeChannels, (long)picture * size.Tokens * _network.CodeChannels);
    }

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

    /// <summary>Draws and keeps as many beginnings as the step has pictures, class after class in turn.</summary>
    private void Draw()
    {
        int[] labels = [.. Enumerable.Range(0, Options.Batch).Select(b => NewPicture(b) % _network.Classes)];
        FeatureMap drawn = _maps.FeatureMap(
            labels.Length, _generator.Transformer.Config.Scales.Last.Height, _generator.Transformer.Config.Scales.Last.Width, _network.CodeChannels);
        _generator.DrawMaps(_drawing with { Labels = labels, FirstIndex = NewPicture(0) }, drawn, _scales);
        for (int b = 0; b < labels.Length; b++)
        {
            Critic.Reduce(drawn.Image(b), Kept(NewPicture(b)));
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _maps.Dispose();
        _kept.Dispose();
        _accuracy.Dispose();
        _network.Dispose();
    }
}
