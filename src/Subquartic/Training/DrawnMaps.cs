using Subquartic.Generation;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Training;

/// <summary>What a transformer draws for a training that learns from it. Drawing is what takes time, so after the first steps only every few draw: as many as a step has pictures,
/// class after class in turn; the latest are kept, and the steps between show some of those at random.</summary>
internal sealed class DrawnMaps : IDisposable
{
    private readonly ImageGenerator _generator;
    private readonly GenerationRequest _drawing;
    private readonly int _classes;
    private readonly int _batch;
    private readonly int _scales;
    private readonly int _drawEvery;
    private readonly int _drawFirst;
    private readonly FloatBuffer _room;
    private readonly FeatureMap _kept;

    /// <summary>Reserves memory.</summary>
    /// <param name="generator">Draws; stays the caller's.</param>
    /// <param name="sampling">How.</param>
    /// <param name="options">Seed, steps and pictures of a step.</param>
    /// <param name="classes">C: classes 0 to C - 1 are drawn.</param>
    /// <param name="scales">How many of the first maps are drawn.</param>
    /// <param name="drawEvery">Of so many steps one draws.</param>
    /// <param name="drawFirst">So many of the first steps all draw, 1 or more.</param>
    /// <param name="bytes">How much is kept at most, one draw at least.</param>
    /// <exception cref="ArgumentOutOfRangeException">There are fewer maps, or no step would draw.</exception>
    public DrawnMaps(ImageGenerator generator, SamplingDefaults sampling, TrainingOptions options, int classes, int scales, int drawEvery, int drawFirst = 1, long bytes = 64L << 20)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(scales, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(scales, generator.Transformer.Config.Scales.Count);
        ArgumentOutOfRangeException.ThrowIfLessThan(drawEvery, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(drawFirst, 1);
        _generator = generator;
        _drawing = sampling.Request([]) with { Seed = options.Seed, Candidates = 1 };
        _classes = classes;
        _batch = options.Batch;
        _scales = scales;
        _drawEvery = drawEvery;
        _drawFirst = drawFirst;
        TokenMapSize size = generator.Transformer.Config.Scales[scales - 1], last = generator.Transformer.Config.Scales.Last;
        int channels = generator.Transformer.Config.CodeChannels;
        long rounds = Rounds(Math.Max(options.Steps, 1) - 1);
        long affordable = bytes / ((long)size.Tokens * channels * sizeof(float) * _batch);
        int kept = _batch * (int)Math.Clamp(affordable, 1, rounds);
        Values = new FloatBuffer((long)kept * size.Tokens * channels);
        _kept = Values.FeatureMap(kept, size.Height, size.Width, channels);
        _room = new FloatBuffer((long)_batch * last.Tokens * channels);
    }

    /// <summary>What is kept: part of the state of a training.</summary>
    public FloatBuffer Values { get; }

    /// <summary>Identifies what is drawn.</summary>
    public string Description => $"{_scales} {_drawEvery} {_drawFirst} {_drawing.Guidance} {_drawing.Sampling} {Trainer.Hash(_generator.Transformer.ClassEmbedding(0)):x}";

    /// <summary>Whether a step draws.</summary>
    public bool IsNew(long step) => step < _drawFirst || step % _drawEvery == 0;

    /// <summary>Gives a step its drawn pictures.</summary>
    /// <param name="step">The step; all before it must have been read.</param>
    /// <param name="uniform">A number in [0, 1) for each picture of the step, with which one is chosen of those kept.</param>
    /// <param name="maps">(B, h, w, Cvae) of the last map drawn, output: the running feature maps after it.</param>
    /// <param name="labels">Their classes, output.</param>
    public void Read(long step, Func<int, double> uniform, FeatureMap maps, Span<int> labels)
    {
        long end = Rounds(step) * _batch, first = end - _batch;
        bool isNew = IsNew(step);
        if (isNew)
        {
            Draw(first);
        }

        for (int b = 0; b < _batch; b++)
        {
            int place = isNew ? Place(first + b) : (int)(uniform(b) * Math.Min(end, _kept.Batch));
            long picture = end - 1 - Place(end - 1 - place);
            labels[b] = Label(picture);
            _kept.Image(place).Span().CopyTo(maps.Image(b).Span());
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Values.Dispose();
        _room.Dispose();
    }

    /// <summary>How often it is drawn up to a step, this included.</summary>
    private long Rounds(long step) => Math.Min(step + 1, _drawFirst) + step / _drawEvery - Math.Min(step, _drawFirst - 1) / _drawEvery;

    private int Place(long picture) => (int)(picture % _kept.Batch);

    private int Label(long picture) => (int)(picture % _classes);

    private void Draw(long first)
    {
        TokenMapSize last = _generator.Transformer.Config.Scales.Last;
        FeatureMap drawn = _room.FeatureMap(_batch, last.Height, last.Width, _kept.Channels);
        int[] labels = [.. Enumerable.Range(0, _batch).Select(b => Label(first + b))];
        _generator.DrawMaps(_drawing with { Labels = labels, FirstIndex = (int)(first % int.MaxValue) }, drawn, _scales);
        for (int b = 0; b < _batch; b++)
        {
            Critic.Reduce(drawn.Image(b), _kept.Image(Place(first + b)));
        }
    }
}
